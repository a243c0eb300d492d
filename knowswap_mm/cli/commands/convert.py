"""``knowswap convert``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from knowswap_mm.checks import check_number
from knowswap_mm.cli.main import Command
from knowswap_mm.errors import CheckpointError, SwapError

if TYPE_CHECKING:
    from knowswap_mm.converters import KeyTable

#: The keys of ``knowswap_mm.converters.TABLES``, which takes long to import.
KINDS = (
    'beit', 'huggingface-beit', 'huggingface-clip', 'huggingface-deit', 'huggingface-dinov2',
    'huggingface-swin', 'huggingface-swinv2', 'huggingface-vit', 'official-dino',
    'official-mask2former', 'official-vit', 'swin', 'swinv2', 'timm-swin', 'timm-swinv2',
    'timm-vit',
)  # fmt: skip
AUTO = 'auto'
_WORDS = {True: 'merged with LoRA', False: 'those before LoRA'}
TEXT = """
auto tells the kind by the keys. Kinds: official-vit, official-dino (also IDEA-Research's),
official-mask2former (also detectron2's), timm-vit (also Meta's DINOv2, DeiT), beit (Microsoft's,
timm's), swin (Microsoft's, timm's before 0.9), timm-swin, swinv2, timm-swinv2; huggingface-vit
(also the encoder of MAE), -deit (distilled), -dinov2, -clip (the vision tower), -beit, -swin,
-swinv2.
Files: .pth and the like, .safetensors, detectron2's .pkl; read as data, nothing is executed.
Weights in several files (model-00001-of-00002.safetensors, ...): name all of them.
Every key is used, or listed as dropped with the reason. With --config the result is compared with
the host, key by key, and LoRA matrices may become an adapter (--adapter); else they are merged.
A file that loralib saved in evaluation mode has them in its weights already: --merged. Files do not
tell; without it the weights are looked at, or compared with those before LoRA (--base).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument('kind', choices=(AUTO, *KINDS), help='what the weights are of')
    parser.add_argument('checkpoint', type=Path, nargs='+', help='.pth, .safetensors or .pkl')
    parser.add_argument('--out', type=Path, required=True, help='a .pth file')
    parser.add_argument('--rows', help='class rows to keep, e.g. coco,91-95 or 0-155,160')
    parser.add_argument('--config', help='config of the swap; its host says what must be there')
    parser.add_argument('--adapter', type=Path, help='folder for LoRA matrices (needs --config)')
    parser.add_argument('--alpha', type=float, default=1.0, help='of LoRA; files do not tell it')
    parser.add_argument(
        '--merged',
        action=argparse.BooleanOptionalAction,
        help='the weights already contain (do not contain) the LoRA matrices beside them',
    )
    parser.add_argument('--base', type=Path, help='weights of this kind before LoRA, to tell that')
    parser.add_argument('--report', type=Path, help='json file: what was used, merged, dropped')
    parser.add_argument('--back', action='store_true', help='from host weights to this kind')


def convert(args: argparse.Namespace) -> dict:
    """Convert to a host and returns the report."""
    from knowswap_mm.converters import TABLES, kind_of
    from knowswap_mm.converters.key_table import parse_rows, select_rows
    from knowswap_mm.converters.lora import fill_adapters, merge_lora, split_lora, subtract_lora
    from knowswap_mm.converters.tables.vit import side_of
    from knowswap_mm.engine.config import build_model
    from knowswap_mm.io.checkpoints import read_weights, safe_save
    from knowswap_mm.lora.adapter import AdapterFile
    from knowswap_mm.models.loading import load_weights

    check_number('--alpha', args.alpha, '> 0', 1)
    weights = read_weights(args.checkpoint)
    kind = kind_of(weights) if args.kind == AUTO else args.kind
    table = TABLES[kind]
    conversion = table.convert(weights)
    if args.rows:
        conversion.state = select_rows(conversion.state, parse_rows(args.rows))
    conversion.state, matrices = split_lora(conversion.state)
    report = dict(
        kind=kind,
        keys=len(conversion.state),
        dropped=conversion.dropped,
        lora=sorted(matrices),
        merged=False,
        positions=side_of(conversion.state),
    )
    inside = report['merged_before'] = lora_is_inside(args, table, conversion.state, matrices)
    whole = conversion.state
    if inside:
        conversion.state = subtract_lora(whole, matrices, args.alpha)
    if args.adapter and not args.config:
        raise CheckpointError('--adapter needs --config. Fix: give the config of the swap.')
    if args.config:
        swapper = build_model(args.config)[0]
        load_weights(swapper, conversion.state, args.checkpoint[0])
        report['resized'] = side_of(swapper.host.state_dict())
        if args.adapter:
            fill_adapters(swapper, matrices)
            AdapterFile(args.adapter).save(swapper)
            report['adapter'] = str(args.adapter)
    if matrices and not args.adapter:
        state = conversion.state
        conversion.state = whole if inside else merge_lora(state, matrices, args.alpha)
        report['merged'] = True
    safe_save(dict(state_dict=conversion.state), args.out)
    return report


def lora_is_inside(
    args: argparse.Namespace, table: KeyTable, weights: dict, matrices: dict
) -> bool:
    """Whether the weights of the file already contain its LoRA matrices.

    Raises:
        CheckpointError: If that is likely or certain and the options say otherwise.
    """
    from knowswap_mm.converters.lora import compare_with_base, estimate_contained, split_lora
    from knowswap_mm.io.checkpoints import read_weights

    if not matrices:
        if args.merged is not None or args.base:
            flag = '--base' if args.merged is None else '--merged'
            raise CheckpointError(f'The file holds no LoRA matrices. Fix: leave {flag} out.')
        return False
    if args.base:
        base = table.convert(read_weights([args.base]))
        base = split_lora(base.state)[0]
        found = compare_with_base(weights, matrices, args.alpha, base)
    else:
        found = estimate_contained(weights, matrices, args.alpha)
    if found is None:  # all B are zero
        return False
    seems = f'{found.share:.2f} times the change by LoRA seems to be in the weights already'
    if args.base:
        if args.merged not in (None, found.merged):
            raise CheckpointError(f'By --base, the weights are {_WORDS[found.merged]}.')
        return found.merged
    if args.merged is None and found.merged:
        raise CheckpointError(
            f'{seems} (0: apart, 1: merged), as loralib saves it in evaluation mode; it would be '
            'added twice. Fix: --merged, or --no-merged if you know better, or --base FILE.'
        )
    if found.merged is None:
        said = 'are taken as ' + _WORDS[bool(args.merged)]
        problem = f'the file does not tell whether LoRA is in its weights; they {said}'
        print(f'warning: {problem}. --base FILE would tell.', file=sys.stderr)
    elif args.merged is not None and args.merged != found.merged:
        said = _WORDS[args.merged]
        print(f'warning: {seems}, but they are taken as {said}.', file=sys.stderr)
    return bool(args.merged)


def revert(args: argparse.Namespace) -> dict:
    """Convert back and returns the report."""
    from knowswap_mm.converters import TABLES
    from knowswap_mm.io.checkpoints import read_weights, safe_save

    for name in ('rows', 'config', 'adapter', 'merged', 'base'):
        if getattr(args, name) is not None:
            raise CheckpointError(f'--{name} has no meaning with --back. Fix: leave it out.')
    if args.kind == AUTO:
        raise CheckpointError(f'Host weights do not tell the kind. Fix: one of {", ".join(KINDS)}.')
    state = TABLES[args.kind].revert(read_weights(args.checkpoint))
    safe_save(dict(model=state) if args.kind != 'official-vit' else state, args.out)
    return dict(keys=len(state))


def _positions(report: dict) -> str | None:
    """What becomes of the position embeddings; None if they stay, or if there are none."""
    side, other = report.get('positions'), report.get('resized')
    if not side or side == other:
        return None
    told = f'position embeddings: {side} x {side} patches, '
    if other:
        return f'{told}which the host of the config resizes to {other} x {other}'
    return f'{told}which a host with another img_size resizes'


def run(args: argparse.Namespace) -> None:
    """Convert and say what became of the keys."""
    from knowswap_mm.engine.config import check_place
    from knowswap_mm.io.files import write_json

    try:
        check_place('--out', args.out)
        if args.report:
            check_place('--report', args.report)
        report = revert(args) if args.back else convert(args)
    except (SwapError, RuntimeError, ValueError) as error:
        files = ', '.join(map(str, args.checkpoint))
        sys.exit(f'{type(error).__name__}: {files}: {error}')
    of = f' of {report["kind"]}' if args.kind == AUTO else ''
    print(f'{args.out}: {report["keys"]} tensors{of}')
    if told := _positions(report):
        print(told)
    for key, reason in report.get('dropped', {}).items():
        print(f'dropped {key}: {reason}')
    if report.get('lora'):
        where = f'written to {args.adapter}' if args.adapter else f'merged (alpha {args.alpha:g})'
        if report['merged_before']:
            where += ' and taken out of the weights' if args.adapter else ', already in the file'
        print(f'LoRA of {len(report["lora"])} linear layers: {where}')
    if args.report:
        write_json(args.report, report)


COMMAND = Command(
    help='Convert checkpoints of other code into weights of our hosts, and back.',
    examples=(
        'knowswap convert auto model.safetensors --out weights/host.pth',
        'knowswap convert official-vit vit.bin --out weights/vit.pth',
        'knowswap convert official-dino dino.pth --out dino.pth --rows coco,91-95 --config swap.py',
        'knowswap convert official-vit host.pth --out vit.bin --back',
        'knowswap convert official-vit evaluated.bin --out weights/vit.pth --merged',
        'knowswap convert huggingface-dinov2 model.safetensors --out weights/dinov2_small.pth',
    ),
    add_arguments=add_arguments,
    run=run,
    order=100,
    text=TEXT,
)
main = COMMAND.main
