"""``knowswap export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from knowswap_mm.cli.main import Command

TEXT = """
The weights are merged in double precision, rounded once, and compared with the unmerged model on
images of the test data. `<out>/model.pth` and `<out>/config.py` are for the inferencers of
mmpretrain, mmdet and mmseg and for deployment tools, `<out>/test_<role>.py` for their test.py;
neither adapters nor base weights are in the file. `--drop forgotten` takes the rows of the
forgotten classes out of the head. `<out>/README.md` is a model card. See docs/export.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('config', help='config of the swap')
    add('checkpoint', type=Path, help='.pth of a phase')
    add('--out', type=Path, required=True, help='a new folder')
    add('--drop', nargs='+', help='classes without a row, or: forgotten')
    add('--half', action='store_true', help='weights in half precision')
    add('--safetensors', action='store_true', help='model.safetensors beside .pth')
    add('--test-data', action='store_true', help="configs and annotations for the host's test.py")
    add(
        '--license',
        default='unknown',
        metavar='ID',
        help='licence in the model card, as hubs name it, e.g. apache-2.0 (unknown)',
    )
    add(
        '--check',
        type=int,
        default=8,
        metavar='N',
        help='compare with the unmerged model on N images of the test data (8); 0 does not',
    )


def run(args: argparse.Namespace) -> None:
    """Export and say what was written."""
    from knowswap_mm.exporting.export import export

    record = export(args)
    print(f'{args.out}: {len(record["classes"])} classes in {record["precision"]}')
    if record['check']:
        deviations = record['check']['deviations'].items()
        text = ', '.join(f'{kind} {value:.1e}' for kind, value in deviations)
        pictures = record['check']['pictures']
        print(f'Largest deviations from the unmerged model on {pictures} images: {text}')
    for role in record.get('tests', ()):
        print(f'{args.out / f"test_{role}.py"}: for the test.py of the host library')


COMMAND = Command(
    help='Export a swapped model as a plain host: merged weights and configs without this package.',
    examples=(
        'knowswap export my_swap.py work_dirs/my_swap/phase2_forget.pth --out exported --test-data',
    ),
    add_arguments=add_arguments,
    run=run,
    order=70,
    text=TEXT,
)
main = COMMAND.main
