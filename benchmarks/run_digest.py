"""Whether runs computed the same, bit by bit: a change that must keep all numbers is checked so.

    python benchmarks/run_digest.py work_dirs/before work_dirs/after

A row for the weights and the state of the optimizer of each checkpoint, for the log without its
times, and for the metrics; it ends with 1 if runs differ.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.lora.manifest import hash_tensors
from knowswap_mm.runs.files import CHECKPOINTS, RESULTS_FILE
from knowswap_mm.runs.reader import ScalarLog
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.visualization.tables import markdown_table

#: What differs between two runs of the same program.
CLOCKS = ('time', 'data_time', 'memory')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', type=Path, help='work dirs')
    return parser.parse_args()


def digests(folder: Path) -> dict[str, str]:
    """Hashes by what was hashed, with the number of tensors, lines or states."""
    found = {}
    for path in sorted(path for pattern in CHECKPOINTS for path in folder.glob(pattern)):
        checkpoint = safe_load(path)
        moments = {
            f'{number}.{name}': value
            for number, state in checkpoint.get('optimizer', {}).get('state', {}).items()
            for name, value in state.items()
        }
        for what, tensors in dict(weights=checkpoint['state_dict'], optimizer=moments).items():
            found[f'{path.name}, {what}'] = f'{hash_tensors(tensors)[:16]} ({len(tensors)})'
    if not found:
        sys.exit(f'{folder}: no checkpoint of a run is there')
    log = ScalarLog.of_run(folder)
    lines = [*log.training, *log.evaluations]
    kept = [{key: line[key] for key in line if key not in CLOCKS} for line in lines]
    found['log'] = _hash(kept)
    if (folder / RESULTS_FILE).is_file():
        found['metrics'] = _hash(SwapResults.read(folder / RESULTS_FILE).states)
    return found


def _hash(values: list | dict) -> str:
    text = json.dumps(values, sort_keys=True)
    return f'{hashlib.sha256(text.encode()).hexdigest()[:16]} ({len(values)})'


def main() -> None:
    runs = {str(folder): digests(folder) for folder in parse_args().runs}
    names = dict.fromkeys(name for found in runs.values() for name in found)
    rows = [[name, *(found.get(name) for found in runs.values())] for name in names]
    print(markdown_table(['what', *runs], rows))
    if different := [row[0] for row in rows if len(set(row[1:])) > 1]:
        sys.exit(f'Different: {"; ".join(different)}')


if __name__ == '__main__':
    main()
