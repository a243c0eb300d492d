"""What a second GPU brings, whether its weights are those of the first, and how a dead rank ends.

    python benchmarks/dist_train.py classification --processes 1 2 --amp
    python benchmarks/dist_train.py detection --processes 2 --kill-a-rank

With `--kill-a-rank`, a further run loses one process, and one process with the whole batch goes on
from its last checkpoint.

Runs `tools/dist_train.sh` on one learn phase of the large hosts (`benchmarks/processes/`), random
weights and generated pictures, the same number of pictures for each process. Time is the median
of what the log says, without its first lines. Efficiency is the speed of all processes together
over that of one, divided by their number.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from end_to_end import write_pictures
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = dict(
    classification='vit-b16_pictures',
    detection='dino-4scale_swin-l_scenes',
    segmentation='mask2former_swin-b_scenes',
)
ROLES = ('learn', 'forget', 'retain')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=CONFIGS)
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--iters', type=int, default=100)
    parser.add_argument('--skip', type=int, default=40, help='first iterations, not counted')
    parser.add_argument('--amp', action='store_true', help='bf16')
    parser.add_argument(
        '--kill-a-rank', action='store_true', help='in a further run, which resumes'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/dist_train'))
    parser.add_argument('--cfg-options', nargs='*', default=[], help='as of tools/train.py')
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def options_of(args: argparse.Namespace) -> list[str]:
    """Options of `tools/train.py`; writes the classifier's pictures when they are not there."""
    options = [
        f'swap.phase_settings.learn.iters={args.iters}',
        'swap.phase_settings.learn.epochs=None',
        'default_hooks.logger.interval=10',
    ]
    if args.task == 'classification':
        root = (args.work_dir / 'pictures').resolve()
        if not root.exists():
            write_pictures(root, argparse.Namespace(pictures=200, test_pictures=1))
        options += [
            f'{part}_dataloader.dataset.roles.{role}.dataset.data_root={root}'
            for part in ('train', 'test')
            for role in ROLES
        ]
    return [*options, *args.cfg_options]


def start(
    args: argparse.Namespace, folder: Path, count: int, *more: str, resume: bool = False
) -> subprocess.Popen:
    """Starts a run, or goes on with one; ``more`` are further options of the config."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    config = f'benchmarks/processes/{CONFIGS[args.task]}.py'
    command = ['bash', 'tools/dist_train.sh', config, str(count), '--work-dir', str(folder)]
    command += ['--amp'] * args.amp + ['--resume'] * resume
    command += ['--cfg-options', *options_of(args), *more]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'output.log').open('a') as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | dict(PORT=port, PYTHON=sys.executable),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def lines_of(folder: Path) -> list[dict]:
    """What the run logged so far."""
    found = sorted(folder.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in found[-1].read_text().splitlines()] if found else []


def measured(args: argparse.Namespace, count: int) -> dict[str, object]:
    """One run and its figures."""
    folder = (args.work_dir / f'{args.task}_{count}_{time.time_ns()}').resolve()
    if start(args, folder, count).wait():
        sys.exit((folder / 'output.log').read_text()[-3000:])
    lines = [line for line in lines_of(folder) if line.get('step', 0) > args.skip]
    digests = {(folder / f'digest_rank{rank}.txt').read_text() for rank in range(count)}
    milliseconds, wait = (
        1000 * statistics.median(line[key] for line in lines) for key in ('time', 'data_time')
    )
    return dict(
        processes=count,
        milliseconds=milliseconds,
        wait=wait,
        memory=max(line.get('memory', 0) for line in lines),
        equal=len(digests) == 1,
    )


def seconds_to_end(args: argparse.Namespace, folder: Path, count: int) -> float:
    """Kills one process of a training run; returns how long the others and the launcher live."""
    process = start(args, folder, count, 'default_hooks.checkpoint.interval=10')
    while not any(line.get('step', 0) >= 20 for line in lines_of(folder)):
        if process.poll() is not None:
            sys.exit((folder / 'output.log').read_text()[-3000:])
        time.sleep(0.5)
    workers = subprocess.run(
        ['pgrep', '-P', str(process.pid)], capture_output=True, text=True, check=True
    )
    os.kill(int(workers.stdout.split()[-1]), signal.SIGKILL)
    begin = time.perf_counter()
    code = process.wait()
    took = time.perf_counter() - begin
    # Workers of loaders look for their dead parent every five seconds.
    end = time.perf_counter() + 15
    while left := subprocess.run(
        ['pgrep', '-f', f'{folder} '], capture_output=True, text=True, check=False
    ).stdout.split():
        if time.perf_counter() > end:
            sys.exit(f'Processes left: {left}')
        time.sleep(0.2)
    if not code:
        sys.exit('The launcher says that all is well.')
    return took


def resumed_at(args: argparse.Namespace, folder: Path, count: int) -> str:
    """Goes on with one process, which has the pictures of all; returns what the log says of it."""
    config = Config.fromfile(ROOT / f'benchmarks/processes/{CONFIGS[args.task]}.py')
    batch = f'train_dataloader.batch_size={count * config.train_dataloader.batch_size}'
    code = start(args, folder, 1, batch, resume=True).wait()
    lines = (folder / 'output.log').read_text()
    if code or not (folder / 'digest_rank0.txt').exists():
        sys.exit(lines[-3000:])
    return next(line for line in lines.splitlines() if 'Resumed at iteration' in line)


def main() -> None:
    """Measures, prints and writes."""
    args = parse_args()
    rows = [measured(args, count) for count in args.processes]
    print(f'{args.task}: {args.iters} iterations, medians after {args.skip}\n')
    print('| processes | ms an iteration | waiting for data | MiB | efficiency | equal weights |')
    print('| --- | --- | --- | --- | --- | --- |')
    for row in rows:
        row['efficiency'] = rows[0]['milliseconds'] / row['milliseconds']
        print(f'| {row["processes"]} | {row["milliseconds"]:.1f} | {row["wait"]:.1f} | '
              f'{row["memory"]:,} | {100 * row["efficiency"]:.0f} % | {row["equal"]} |',
              flush=True)  # fmt: skip
    result = dict(task=args.task, rows=rows)
    if args.kill_a_rank:
        folder = (args.work_dir / f'{args.task}_killed_{time.time_ns()}').resolve()
        count = max(args.processes)
        result['seconds_to_end'] = seconds_to_end(args, folder, count)
        print(f'\nAfter a rank was killed, the job ended in {result["seconds_to_end"]:.1f} s.')
        print(f'One process went on: {resumed_at(args, folder, count)}')
    if args.out:
        args.out.write_text(json.dumps(result) + '\n')
    sys.exit(not all(row['equal'] for row in rows))


if __name__ == '__main__':
    main()
