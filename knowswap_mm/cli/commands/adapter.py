"""``knowswap adapter``."""

from __future__ import annotations

import argparse
from pathlib import Path

from knowswap_mm.cli.main import Command

TEXT = """
CONFIG is that of the swap of the last adapter. `apply` writes a checkpoint as the swap itself does:
`knowswap test` evaluates it and `knowswap export` merges it into a plain host. `unload` writes the
weights that were there before all swaps, bit by bit; with `--newest` those before the last one,
with the earlier adapters merged.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('show', help='manifest and history of a folder')
    show.add_argument('folder', type=Path, help='folder of an adapter')
    apply = commands.add_parser('apply', help='base and adapters to a checkpoint of the swap')
    apply.add_argument('config', help='config of the last swap')
    apply.add_argument('adapters', type=Path, nargs='+', help='folders, the oldest first')
    apply.add_argument('--base', type=Path, required=True, help='the base checkpoint')
    unload = commands.add_parser('unload', help='the base out of a checkpoint of a swap')
    unload.add_argument('config', help='config of the last swap')
    unload.add_argument('checkpoint', type=Path, help='.pth of the swap')
    unload.add_argument('--newest', action='store_true', help='go back by the last swap only')
    for command in (apply, unload):
        command.add_argument('--out', type=Path, required=True, help='file to write')


def apply(args: argparse.Namespace) -> str:
    """Put the adapters on the base."""
    from knowswap_mm.engine.config import build_model
    from knowswap_mm.io.checkpoints import safe_save
    from knowswap_mm.lora import AdapterFile
    from knowswap_mm.models.loading import load_file_into

    swapper, _ = build_model(args.config, args.adapters[:-1])
    load_file_into(swapper, args.base)
    manifest = AdapterFile(args.adapters[-1]).load(swapper)
    roles = manifest.class_roles
    meta = dict(dataset_meta=dict(classes=tuple([*roles['old'], *roles['learn']]))) if roles else {}
    safe_save(dict(state_dict=swapper.state_dict(), meta=meta), args.out)
    return f'{args.out}: {len(args.adapters)} adapters on {args.base}'


def unload(args: argparse.Namespace) -> str:
    """Take the adapters off."""
    from knowswap_mm.engine.config import build_model
    from knowswap_mm.io.checkpoints import safe_save
    from knowswap_mm.models import original_host, unload_all
    from knowswap_mm.models.loading import load_file_into

    swapper, _ = build_model(args.config)
    load_file_into(swapper, args.checkpoint)
    state = original_host(swapper).state_dict() if args.newest else unload_all(swapper)
    safe_save(dict(state_dict=dict(state), meta={}), args.out)
    return f'{args.out}: {len(state)} tensors'


def run(args: argparse.Namespace) -> None:
    """Run a sub-command."""
    if args.command != 'show':
        print(apply(args) if args.command == 'apply' else unload(args))
        return
    from knowswap_mm.lora.adapter import AdapterContents, describe_adapter

    print(describe_adapter(AdapterContents(args.folder)))


COMMAND = Command(
    help='Show, apply or unload adapters.',
    examples=(
        'knowswap adapter show work_dirs/swap1/adapter',
        'knowswap adapter apply CONFIG --base vit.pth swap1/adapter swap2/adapter --out swap2.pth',
        'knowswap adapter unload CONFIG work_dirs/swap2/phase2_forget.pth --out base.pth',
    ),
    add_arguments=add_arguments,
    run=run,
    order=80,
    text=TEXT,
)
main = COMMAND.main
