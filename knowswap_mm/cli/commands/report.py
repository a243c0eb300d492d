"""``knowswap report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument('work_dir', nargs='+', type=Path, help='folder of a run')
    parser.add_argument('--out', type=Path, help='another folder, for a single run')


def run(args: argparse.Namespace) -> None:
    """Write, and say where."""
    if args.out and len(args.work_dir) > 1:
        fix = 'leave it out, or name one work dir'
        raise ConfigError('--out', str(args.out), 'is for a single run', fix)
    from knowswap_mm.visualization.report import Report

    for work_dir in args.work_dir:
        print(Report.of_run(work_dir).write(args.out))


COMMAND = Command(
    help='Write report.html, report.md and report.json of a run again.',
    examples=('knowswap report work_dirs/demo',),
    add_arguments=add_arguments,
    run=run,
    order=40,
)
main = COMMAND.main
