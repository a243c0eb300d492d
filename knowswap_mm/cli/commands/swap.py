"""``knowswap swap``: your own model and data, without a config."""

from __future__ import annotations

import argparse

from knowswap_mm.cli.commands.init import TEXT as MODELS_AND_DATA
from knowswap_mm.cli.commands.init import add_arguments, check_arguments
from knowswap_mm.cli.main import Command

TEXT = """
It writes a config into the folder of the run, shows the plan, trains, and says what became of it.
`knowswap train DIR/config.py` runs the same again; `knowswap init` writes the config alone.
"""


def run(args: argparse.Namespace) -> None:
    """Swap, and say what became of it."""
    check_arguments(args)
    from knowswap_mm.own.run import make, tell, train

    path, plan = make(args)
    print('\n'.join(plan), flush=True)
    train(path)
    print('\n'.join(['', *tell(path.parent)]))


COMMAND = Command(
    help='Swap your own model with your own data: one command, no config.',
    examples=(
        'knowswap swap --model my_vit.py --checkpoint my_vit.pth --learn photos --forget cat,dog',
        'knowswap swap --model dino.py --checkpoint dino.pth --learn new.json --images photos',
        'knowswap swap --model upernet.py --checkpoint upernet.pth --learn masks --forget tree',
    ),
    add_arguments=add_arguments,
    run=run,
    order=5,
    text=f'{TEXT}{MODELS_AND_DATA}',
)
main = COMMAND.main
