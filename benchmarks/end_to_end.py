"""A whole training run on JPEGs: how long the device waits for data, and where the seconds go.

    python benchmarks/end_to_end.py --amp --workers 14

Writes JPEGs of the size of ImageNet's (500 x 400) in the layout of the ImageNet-100 recipe, 100
old classes and five new ones, 1,300 each, and trains its config on them as `tools/train.py` does,
all phases and evaluations, with `--amp` all of it in bf16. The files are links to a few images, so
that what is read from the disk lies in memory; each is decoded by itself. Random weights: time does
not depend on them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data_path import write_masters
from first_seconds import STAGES

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/classification/vit-b16_imagenet100_learn-forget_parity.py'
FORGET, LEARN, RETAIN = 5, 5, 95


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=CONFIG)
    parser.add_argument('--pictures', type=int, default=1300, help='for training, a class')
    parser.add_argument('--test-pictures', type=int, default=50, help='for evaluation, a class')
    parser.add_argument('--workers', type=int, default=max((os.cpu_count() or 2) - 2, 1))
    parser.add_argument('--amp', action='store_true', help='bf16')
    parser.add_argument('--cfg-options', nargs='*', default=[], help='as of tools/train.py')
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def write_pictures(root: Path, args: argparse.Namespace) -> None:
    """The official three folders, old classes named `<number>_<10 characters>`."""
    masters = write_masters(root / 'masters')
    names = [f'{i}_n{i:08d}' for i in range(FORGET + RETAIN)]
    roles = dict(
        forget=names[:FORGET], retain=names[FORGET:], learn=[f'new{i}' for i in range(LEARN)]
    )
    for role, classes in roles.items():
        for split, count in (('train', args.pictures), ('test', args.test_pictures)):
            for name in classes:
                folder = root / role / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    os.link(masters[i % len(masters)], folder / f'{i:05d}.jpg')


def train(root: Path, args: argparse.Namespace) -> tuple[Path, dict[str, list[float]]]:
    """Runs the recipe; returns the folder of the run, and seconds by stage."""
    config = root / 'config.py'
    config.write_text(
        f"_base_ = ['{(ROOT / args.config).resolve()}']\n"
        "custom_imports = dict(imports=['knowswap_mm', 'benchmarks.processes.device_wait_hook'],\n"
        '                      allow_failed_imports=False)\n'
        "custom_hooks = [dict(type='knowswap_mm.DeviceWaitHook')]\n"
    )
    options = [
        *(f'{part}_dataloader.num_workers={args.workers}' for part in ('train', 'val', 'test')),
        *(
            f'{part}_dataloader.dataset.roles.{role}.dataset.data_root={root}'
            for part in ('train', 'val', 'test')
            for role in ('learn', 'forget', 'retain')
        ),
        'load_from=None',
        'swap.allow_random_host=True',
        *['model.predict_dtype=bfloat16'] * args.amp,
        *args.cfg_options,
    ]
    command = [sys.executable, 'benchmarks/first_seconds.py', '--child', str(config)]
    command += ['--work-dir', str(root / 'run'), *['--amp'] * args.amp]
    log = root / 'output.log'
    with log.open('w') as output:
        done = subprocess.run(
            [*command, '--cfg-options', *options],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ | dict(PYTHONPATH=f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'),
        )
    if done.returncode:
        sys.exit(log.read_text()[-3000:])
    return root / 'run', json.loads(log.read_text().splitlines()[-1])


def summary(run: Path, wall: float) -> dict[str, object]:
    """Time and wait for data of the iterations between two lines of the log, and the sums."""
    scalars = next(run.glob('*/vis_data/scalars.json'))
    waits = {int(k): v for k, v in json.loads((run / 'device_waits.json').read_text()).items()}
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    steps = [line for line in lines if 'data_time' in line and 'loss' in line]
    rows, last = [], 0
    for line in steps:
        found = [waits.get(number, 0) for number in range(last, line['step'])]
        host = dict(time=line['time'], host=line['data_time'])
        rows.append(dict(host, count=len(found), wait=sum(found) / len(found) / 1000))
        last = line['step']
    training = sum(row['count'] * row['time'] for row in rows)
    return dict(rows=rows, wall=wall, training=training, steps=last)


def main() -> None:
    """Trains, prints and writes."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), args)
        begin = time.perf_counter()
        run, stages = train(Path(folder), args)
        found = summary(run, time.perf_counter() - begin)
        found['stages'] = {name: stages[name][0] for name in STAGES}
    rows, steps = found['rows'], found['steps']
    print(f'{steps} iterations in {found["training"]:.1f} s, the whole process '
          f'{found["wall"]:.1f} s; {args.workers} workers\n')  # fmt: skip
    print('| iterations | ms an iteration | host fetches data | device waits | share |')
    print('| --- | --- | --- | --- | --- |')
    tenth, done, group = steps / 10, 0, []
    for row in rows:
        group.append(row)
        done += row['count']
        if done >= tenth or row is rows[-1]:
            total = sum(r['count'] for r in group)
            each, host, wait = (
                1000 * sum(r['count'] * r[key] for r in group) / total
                for key in ('time', 'host', 'wait')
            )
            share = f'{100 * wait / each:.1f} %'
            print(f'| to {done} | {each:.1f} | {host:.1f} | {wait:.1f} | {share} |')
            tenth, group = tenth + steps / 10, []
    print('\n| stage | s |\n| --- | --- |')
    for name, seconds in found['stages'].items():
        print(f'| {name} | {seconds:.1f} |')
    if args.out:
        args.out.write_text(json.dumps(dict(vars(args), out=None, **found)) + '\n')


if __name__ == '__main__':
    main()
