r"""Shows, applies and unloads adapters.

    python tools/model_converters/adapter.py show work_dirs/swap1/adapter
    python tools/model_converters/adapter.py apply CONFIG --base weights/vit.safetensors \
        work_dirs/swap1/adapter work_dirs/swap2/adapter --out swap2.pth
    python tools/model_converters/adapter.py unload CONFIG work_dirs/swap2/phase2_forget.pth \
        --out base.pth

CONFIG is that of the swap of the last adapter. `apply` writes a checkpoint as the swap itself does:
tools/test.py evaluates it and export.py merges it into a plain host. `unload` writes the weights
that were there before all swaps, bit by bit; with `--newest` those before the last one, with the
earlier adapters merged.
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.engine.safe_load import safe_load, safe_save, state_dict_of
from knowswap_mm.engine.tool_config import open_config
from knowswap_mm.errors import CheckpointError, SwapError
from knowswap_mm.lora import AdapterFile
from knowswap_mm.lora.adapter_contents import AdapterContents
from knowswap_mm.lora.adapter_report import describe_adapter
from knowswap_mm.models import original_host, unload_all


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('show', help='manifest and history of a folder')
    show.add_argument('folder', type=Path)
    apply = commands.add_parser('apply', help='base and adapters to a checkpoint of the swap')
    apply.add_argument('config')
    apply.add_argument('adapters', type=Path, nargs='+', help='folders, the oldest first')
    apply.add_argument('--base', type=Path, required=True, help='the base checkpoint')
    unload = commands.add_parser('unload', help='the base out of a checkpoint of a swap')
    unload.add_argument('config')
    unload.add_argument('checkpoint', type=Path)
    unload.add_argument('--newest', action='store_true', help='go back by the last swap only')
    for command in (apply, unload):
        command.add_argument('--out', type=Path, required=True, help='file to write')
    return parser.parse_args()


def build(path: str, adapters: list[Path] | None = None) -> tuple[torch.nn.Module, Config]:
    """The model of a config; `adapters` replace those beneath it."""
    cfg = open_config(path)
    for name in cfg.get('custom_imports', {}).get('imports', []):
        __import__(name)
    MMLogger.get_instance('adapter', log_level='ERROR')
    if adapters is not None:
        cfg.model.adapters = [str(folder) for folder in adapters]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model), cfg


def load(swapper: torch.nn.Module, path: Path) -> dict:
    """Loads a checkpoint strictly and returns it."""
    checkpoint = safe_load(path)
    try:
        swapper.load_state_dict(state_dict_of(checkpoint), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f'{path} does not fit the model: {error}') from None
    return checkpoint


def apply(args: argparse.Namespace) -> str:
    """Puts the adapters on the base."""
    swapper, _ = build(args.config, args.adapters[:-1])
    load(swapper, args.base)
    manifest = AdapterFile(args.adapters[-1]).load(swapper)
    roles = manifest.class_roles
    meta = dict(dataset_meta=dict(classes=tuple([*roles['old'], *roles['learn']]))) if roles else {}
    safe_save(dict(state_dict=swapper.state_dict(), meta=meta), args.out)
    return f'{args.out}: {len(args.adapters)} adapters on {args.base}'


def unload(args: argparse.Namespace) -> str:
    """Takes the adapters off."""
    swapper, _ = build(args.config)
    load(swapper, args.checkpoint)
    state = original_host(swapper).state_dict() if args.newest else unload_all(swapper)
    safe_save(dict(state_dict=dict(state), meta={}), args.out)
    return f'{args.out}: {len(state)} tensors'


def main() -> None:
    """Runs a sub-command."""
    args = parse_args()
    try:
        if args.command == 'show':
            print(describe_adapter(AdapterContents(args.folder)))
        else:
            print(apply(args) if args.command == 'apply' else unload(args))
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
