"""Time and memory of the classification converter and of a training's start, by number of images.

    python benchmarks/data_scale.py --pictures 12500 25000 50000 100000

Writes a source of small JPEGs (64 px, as many hard links as images to 64 files) in 100 classes,
converts it in the official layout, with 5 classes to forget, and builds the training data set of
the ImageNet-100 swap from the result; each step in a process of its own. Memory is the peak of the
process above that of the imports alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES, FILES, SIDE = 100, 64, 64
CONVERT = REPOSITORY / 'tools' / 'dataset_converters' / 'classification.py'
CHILD = """
import resource, runpy, sys, time
{imports}
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
{work}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print('measured', seconds, peak / 1024)
"""
OPEN = """
with DefaultScope.overwrite_default_scope('mmpretrain'):
    data = DATASETS.build(dict(type='knowswap_mm.RoleDataset', classes=dict(
        old='leading_integer'), roles={{
        role: dict(dataset=dict(type='CustomDataset', data_root={root!r},
                                data_prefix=role + '/train', pipeline=[]))
        for role in ('forget', 'retain')}}))
assert len(data) == {count}, len(data)
"""


def write_source(root: Path, count: int) -> None:
    """Class folders with links to a few JPEGs."""
    masters = root / 'masters'
    masters.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(FILES):
        values = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(values).save(masters / f'{i}.jpg')
    for split, of_split in (('train', count), ('val', CLASSES)):
        for name in range(CLASSES):
            folder = root / split / f'n{name:08d}'
            folder.mkdir(parents=True)
            for i in range(of_split // CLASSES):
                os.link(masters / f'{(name + i) % FILES}.jpg', folder / f'{i:06d}.jpg')


def measure(imports: str, work: str) -> tuple[float, float]:
    """Seconds and MiB of some work in a process of its own."""
    code = CHILD.format(imports=imports, work=work)
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    line = next(x for x in done.stdout.splitlines() if x.startswith('measured'))
    return tuple(map(float, line.split()[1:]))


def one_size(count: int) -> dict[str, float]:
    """Convert and open a tree."""
    with tempfile.TemporaryDirectory(dir=REPOSITORY / 'work_dirs') as folder:
        root = Path(folder)
        write_source(root / 'source', count)
        forget = [f'n{i:08d}' for i in range(5)]
        arguments = ['x', 'imagenet', '--source', str(root / 'source'), '--out', str(root / 'out')]
        arguments += ['--forget', *forget, '--layout', 'official']
        work = f'sys.argv = {arguments!r}\nrunpy.run_path({str(CONVERT)!r}, run_name="__main__")'
        seconds, mib = measure('import knowswap_mm.data_tools.publishers', work)
        imports = 'import mmpretrain.datasets, knowswap_mm\nfrom mmengine.registry import DATASETS'
        imports += ', DefaultScope'
        work = OPEN.format(root=str(root / 'out'), count=count)
        opened, opened_mib = measure(imports, work)
    return dict(
        pictures=count, convert_s=seconds, convert_mib=mib, open_s=opened, open_mib=opened_mib
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--pictures', type=int, nargs='+', default=[12500, 25000, 50000, 100000])
    parser.add_argument('--json', type=Path, help='file for the figures')
    args = parser.parse_args()
    (REPOSITORY / 'work_dirs').mkdir(exist_ok=True)
    print('| images | convert s | MiB | open for training s | MiB |')
    print('| --- | --- | --- | --- | --- |')
    rows = []
    for count in args.pictures:
        started = time.perf_counter()
        row = one_size(count)
        rows.append(row)
        print(
            f'| {count:,} | {row["convert_s"]:.1f} | {row["convert_mib"]:.0f} | '
            f'{row["open_s"]:.2f} | {row["open_mib"]:.0f} |',
            flush=True,
        )
        print(f'{time.perf_counter() - started:.0f} s in all', file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
    main()
