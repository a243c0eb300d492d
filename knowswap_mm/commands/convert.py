"""``knowswap convert``."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from knowswap_mm.command_line.command import Command
from knowswap_mm.errors import CheckpointError, SwapError
from knowswap_mm.value_checks import check_between

#: The keys of ``knowswap_mm.converters.TABLES``, which takes long to import.
KINDS = (
    'huggingface-swin',
    'huggingface-vit',
    'official-dino',
    'official-mask2former',
    'official-vit',
    'swin',
    'timm-swin',
    'timm-vit',
)
TEXT = """
Kinds: official-vit, official-dino (also IDEA-Research's), official-mask2former (also detectron2's),
timm-vit, huggingface-vit, swin (Microsoft's, timm's before 0.9), timm-swin, huggingface-swin.
Files: .pth and the like, .safetensors, detectron2's .pkl; read as data, nothing is executed.
Every key is used, or listed as dropped with the reason. With --config the result is compared with
the host, key by key, and LoRA matrices may become an adapter (--adapter); else they are merged.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument('kind', choices=KINDS, help='what the weights are of')
    parser.add_argument('checkpoint', type=Path, help='.pth, .safetensors or .pkl')
    parser.add_argument('--out', type=Path, required=True, help='a .pth file')
    parser.add_argument('--rows', help='class rows to keep, e.g. coco,91-95 or 0-155,160')
    parser.add_argument('--config', help='config of the swap; its host says what must be there')
    parser.add_argument('--adapter', type=Path, help='folder for LoRA matrices (needs --config)')
    parser.add_argument('--alpha', type=float, default=1.0, help='of LoRA; files do not tell it')
    parser.add_argument('--report', type=Path, help='json file: what was used, merged, dropped')
    parser.add_argument('--back', action='store_true', help='from host weights to this kind')


def convert(args: argparse.Namespace) -> dict:
    """Convert to a host and returns the report."""
    from knowswap_mm.converters import TABLES
    from knowswap_mm.converters.class_row_selection import parse_rows, select_rows
    from knowswap_mm.converters.lora_matrices import fill_adapters, merge_lora, split_lora
    from knowswap_mm.engine.safe_load import safe_load, safe_save, state_dict_of
    from knowswap_mm.engine.tool_model import build_model
    from knowswap_mm.lora.adapter_file import AdapterFile

    check_between('--alpha', args.alpha, 0, math.inf, 1)
    table = TABLES[args.kind]
    conversion = table.convert(state_dict_of(safe_load(args.checkpoint)))
    if args.rows:
        conversion.state = select_rows(conversion.state, parse_rows(args.rows))
    conversion.state, matrices = split_lora(conversion.state)
    report = dict(
        keys=len(conversion.state), dropped=conversion.dropped, lora=sorted(matrices), merged=False
    )
    if args.adapter and not args.config:
        raise CheckpointError('--adapter needs --config. Fix: give the config of the swap.')
    if args.config:
        swapper = build_model(args.config)[0]
        swapper.load_state_dict(conversion.state)
        if args.adapter:
            fill_adapters(swapper, matrices)
            AdapterFile(args.adapter).save(swapper)
            report['adapter'] = str(args.adapter)
    if matrices and not args.adapter:
        conversion.state = merge_lora(conversion.state, matrices, args.alpha)
        report['merged'] = True
    safe_save(dict(state_dict=conversion.state), args.out)
    return report


def revert(args: argparse.Namespace) -> dict:
    """Convert back and returns the report."""
    from knowswap_mm.converters import TABLES
    from knowswap_mm.engine.safe_load import safe_load, safe_save, state_dict_of

    state = TABLES[args.kind].revert(state_dict_of(safe_load(args.checkpoint)))
    safe_save(dict(model=state) if args.kind != 'official-vit' else state, args.out)
    return dict(keys=len(state))


def run(args: argparse.Namespace) -> None:
    """Convert and say what became of the keys."""
    from knowswap_mm.engine.atomic_file import write_json
    from knowswap_mm.engine.tool_config import check_place

    try:
        check_place('--out', args.out)
        if args.report:
            check_place('--report', args.report)
        report = revert(args) if args.back else convert(args)
    except (SwapError, RuntimeError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {args.checkpoint}: {error}')
    print(f'{args.out}: {report["keys"]} tensors')
    for key, reason in report.get('dropped', {}).items():
        print(f'dropped {key}: {reason}')
    if report.get('lora'):
        where = f'written to {args.adapter}' if args.adapter else f'merged (alpha {args.alpha:g})'
        print(f'LoRA of {len(report["lora"])} linears: {where}')
    if args.report:
        write_json(args.report, report)


COMMAND = Command(
    help='Convert checkpoints of other code into weights of our hosts, and back.',
    examples=(
        'knowswap convert official-vit vit.bin --out weights/vit.pth',
        'knowswap convert official-dino dino.pth --out dino.pth --rows coco,91-95 --config swap.py',
        'knowswap convert official-vit host.pth --out vit.bin --back',
    ),
    add_arguments=add_arguments,
    run=run,
    order=100,
    text=TEXT,
)
main = COMMAND.main
