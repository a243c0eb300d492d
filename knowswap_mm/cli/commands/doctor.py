"""``knowswap doctor``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.errors import ConfigError

TEXT = """
Versions, the compiled operators of mmcv, the GPU, the disk, and a swap of two steps on drawn
images. Each line is ok, a warning (something will be slow, or cannot be used) or a problem, with
the way to fix it. The exit code is 1 if there is a problem.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('--work-dir', type=Path, default=Path('work_dirs'), help='folder in which runs will be')
    add('--json', action='store_true', help='one json document, for machines')
    add('--skip', nargs='+', default=[], metavar='CHECK', help='checks to leave out, e.g. swap')


def run(args: argparse.Namespace) -> int:
    """Examine and show; 1 if there is a problem."""
    from knowswap_mm.doctor import Examination

    known = Examination.checks()
    if unknown := [name for name in args.skip if name not in known]:
        raise ConfigError('--skip', unknown[0], 'there is no such check', f'choose from {[*known]}')
    findings = []
    for name, finding in Examination(args.work_dir, args.skip).findings():
        findings.append(dict(check=name, **vars(finding)))
        if not args.json:
            print(finding, flush=True)
    counts = {
        state: sum(finding['state'] == state for finding in findings)
        for state in ('problem', 'warning')
    }
    if args.json:
        print(json.dumps(dict(ok=not counts['problem'], findings=findings), indent=2))
    else:
        print(f'\nproblems: {counts["problem"]}, warnings: {counts["warning"]}')
    return int(counts['problem'] > 0)


COMMAND = Command(
    help='Check the installation, and say how to fix it.',
    examples=('knowswap doctor', 'knowswap doctor --json --skip swap'),
    add_arguments=add_arguments,
    run=run,
    order=110,
    text=TEXT,
)
main = COMMAND.main
