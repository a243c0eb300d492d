"""Publishes the weights of an mmengine checkpoint as fp16 safetensors with a json card beside it.

    python tools/model_converters/publish_weights.py work_dirs/x/epoch_80.pth \
        --config configs/x.py --out weights/x.safetensors --metric test/top1=91.2

The checkpoint is read as data only: nothing that is stored in it is executed.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from knowswap_mm.engine.config import check_place
from knowswap_mm.errors import CheckpointError, ConfigError, SwapError
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.io.files import write_atomic, write_json


def read_checkpoint(path: Path) -> dict:
    """Reads a .pth file as data and checks that mmengine wrote it."""
    checkpoint = safe_load(path)
    if not checkpoint.get('state_dict') or not isinstance(checkpoint['state_dict'], dict):
        raise CheckpointError(f'{path} has no `state_dict`; give a checkpoint that mmengine wrote.')
    return checkpoint


def to_half(state: dict) -> dict[str, torch.Tensor]:
    """Halves floating tensors; other tensors stay. The result shares no memory."""
    tensors = {}
    for name, value in sorted(state.items()):
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(
                f'{name!r} in the checkpoint is a {type(value).__name__}, no tensor.'
            )
        half = value.half() if value.is_floating_point() else value
        if half.is_floating_point() and not torch.isfinite(half).all():
            raise CheckpointError(
                f'{name!r} has values that fp16 cannot hold (above 65504, or not '
                'finite already); publish a checkpoint of a finished training.'
            )
        tensors[name] = half.contiguous().clone()
    return tensors


def hash_tensors(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and values: the same for any container format."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def parse_metric(text: str) -> tuple[str, float]:
    """Splits 'name=value'."""
    name, sign, value = text.partition('=')
    try:
        if name and sign:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f'{text!r} is not of the form name=number')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='mmengine checkpoint to fp16 safetensors + card')
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--config', type=Path, required=True, help='config it was trained with')
    parser.add_argument('--out', type=Path, required=True, help='a .safetensors file')
    parser.add_argument('--seed', type=int, help='default: the seed that the checkpoint states')
    parser.add_argument(
        '--metric',
        type=parse_metric,
        action='append',
        default=[],
        metavar='NAME=NUMBER',
        help='a measured result; may be repeated',
    )
    return parser.parse_args()


def publish(args: argparse.Namespace) -> None:
    """Writes the weights and the card."""
    if args.out.suffix != '.safetensors':
        raise ConfigError('--out', str(args.out), 'has another ending', 'end it in .safetensors')
    if not args.config.is_file():
        raise ConfigError('--config', str(args.config), 'no such file', 'give the config')
    check_place('--out', args.out)
    checkpoint = read_checkpoint(args.checkpoint)
    meta = checkpoint.get('meta') or {}
    tensors = to_half(checkpoint['state_dict'])
    card = dict(
        config=args.config.stem,
        seed=meta.get('seed') if args.seed is None else args.seed,
        epoch=meta.get('epoch'),
        iterations=meta.get('iter'),
        classes=list((meta.get('dataset_meta') or {}).get('classes', [])),
        metrics=dict(args.metric),
        dtype='float16',
        parameters=sum(value.numel() for value in tensors.values()),
        mmengine=meta.get('mmengine_version'),
        content_sha256=hash_tensors(tensors),
    )

    text = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()
    }
    content = save(tensors, metadata={'format': 'pt', **text})
    card['file_sha256'] = hashlib.sha256(content).hexdigest()
    write_atomic(args.out, lambda file: file.write(content))
    write_json(args.out.with_suffix('.json'), card)
    print(f'{args.out}: {args.out.stat().st_size / 2**20:.2f} MiB, {card["parameters"]} values')


def main() -> None:
    args = parse_args()
    try:
        publish(args)
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
