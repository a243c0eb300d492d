"""``knowswap compare``."""

from __future__ import annotations

import argparse
import signal
import sys

from knowswap_mm.cli.main import Command

TEXT = """
A run is NAME=CONFIG, with overrides of the config after it; `@FILE` stands for a file with a run a
line. A config without `swap` is trained by its own runner and evaluated by role with the classes
and data of `--roles`. The same command goes on after an interruption: finished runs are not
repeated. Settings are chosen on the `val` split; `--split test` measures on the test images
instead, for a table that is published. Folders of the runs are kept under `--out`, with `table.md`
and `results.json` (all seeds, all states, and the last checkpoint of each run).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('--runs', nargs='+', required=True, metavar='NAME=CONFIG [OPTIONS]', help='what to train')
    add('--seeds', nargs='+', type=int, default=[0], help='each run once a seed')
    add('--split', choices=['val', 'test'], default='val', help='images to measure on')
    add('--roles', help='swap config that gives classes and data to plain configs')
    add('--parallel', type=int, default=1, help='runs at a time')
    add('--states', action='store_true', help='all states, not the last one alone')
    add('--out', default='work_dirs/compare', help='folder for the results')


def run(args: argparse.Namespace) -> None:
    """Compare; a request to stop ends the runs that are at work."""
    from knowswap_mm.workflows.compare import compare

    stop = lambda *_: sys.exit('Stopped; the same command goes on.')  # noqa: E731
    before = signal.signal(signal.SIGTERM, stop)
    try:
        compare(args)
    finally:
        signal.signal(signal.SIGTERM, before)


COMMAND = Command(
    help='Run swaps and baselines over seeds, and print one table of their results.',
    examples=(
        "knowswap compare --seeds 0 1 --runs swap=my_swap.py 'rank 4=my_swap.py model.lora.rank=4'",
    ),
    add_arguments=add_arguments,
    run=run,
    order=95,
    text=TEXT,
)
main = COMMAND.main
