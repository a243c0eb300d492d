"""``knowswap continual``."""

from __future__ import annotations

import argparse
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_config_options

TEXT = """
`--through export` (the default) merges the model after each swap and loads it into the next;
`--through adapters` loads the base each time and puts the adapters of all earlier swaps beneath the
new one. A swap that is finished is not run again. After each swap all classes are tested, those
that an earlier one forgot as well; `continual.json` and a table show the accuracies. `--hold` lists
what earlier swaps forgot under `swap.classes.forget` of each later one: training moves the features
of all classes, and brings forgotten ones back otherwise.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('configs', nargs='+', help='a config a swap, in their order')
    add('--work-dir', type=Path, required=True, help='folder for all swaps')
    add(
        '--through',
        choices=['export', 'adapters'],
        default='export',
        help='how a swap reaches the next one',
    )
    add('--hold', action='store_true', help='forget in each swap what earlier ones forgot, too')
    add_config_options(parser, 'changes of all configs, e.g. model.lora.rank=4')


def run(args: argparse.Namespace) -> None:
    """Run the chain and show what became of every class."""
    from knowswap_mm.io.files import write_json
    from knowswap_mm.workflows.continual import chain

    table = chain(args)
    told = dict(through=args.through, hold=args.hold, **table.to_dict())
    write_json(args.work_dir / 'continual.json', told)
    print(f'\nAccuracy in percent, through {args.through}:\n\n{table.markdown()}\n')
    if table.not_held:
        print(
            f'Forgotten earlier, and held down by nothing since: {", ".join(table.not_held)}. '
            'Answers do not show what came back; see `--hold`.\n'
        )
    print(f'{args.work_dir / "continual.json"}')


COMMAND = Command(
    help='Run several swaps in a row, each on what the one before left, and follow every class.',
    examples=('knowswap continual swap1.py swap2.py swap3.py --work-dir work_dirs/continual',),
    add_arguments=add_arguments,
    run=run,
    order=90,
    text=TEXT,
)
main = COMMAND.main
