"""Makes the report of a run again, from the files in its work dir.

python tools/analysis_tools/report.py work_dirs/demo
"""

import argparse
import sys
from pathlib import Path

from knowswap_mm.errors import SwapError
from knowswap_mm.visualization.report import Report


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description='Write report.html, report.md and report.json of a run.'
    )
    parser.add_argument('work_dir', nargs='+', type=Path, help='folder of a run')
    parser.add_argument('--out', type=Path, help='another folder, for a single run')
    args = parser.parse_args()
    if args.out and len(args.work_dir) > 1:
        parser.error('--out is for a single run. Fix: leave it out, or name one work dir')
    return args


def main() -> None:
    """Writes, and says where."""
    args = parse_args()
    try:
        for work_dir in args.work_dir:
            print(Report.of_run(work_dir).write(args.out))
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
