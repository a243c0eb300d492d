"""What more GPUs bring, whether their weights stay equal, and how a dead rank ends.

    python benchmarks/dist_train.py classification --processes 1 2 4 --beside 4 --amp
    python benchmarks/dist_train.py detection --processes 4 --kill-a-rank --resume-with 2

With `--beside N`, N runs of one process each, a GPU for each, train at once and exchange nothing:
what they lose against one run alone is what they share (cores, memory, power), and the rest of what
N processes of one run lose is the exchange and the wait for the slowest. With `--kill-a-rank`, a
further run loses one process, and `--resume-with` processes with the whole batch go on from its
last checkpoint.

Runs `tools/dist_train.sh` on one learn phase of the large hosts (`benchmarks/processes/`), random
weights and generated images, the same number of images for each process. Time is the median
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
#: Iterations between two lines of the log, each of which says their mean.
WINDOW = 10


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
        '--beside', type=int, default=0, metavar='N', help='also N separate runs at once'
    )
    parser.add_argument(
        '--kill-a-rank', action='store_true', help='in a further run, which resumes'
    )
    parser.add_argument(
        '--resume-with', type=int, default=1, metavar='N', help='processes of the resumed run'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/dist_train'))
    parser.add_argument('--cfg-options', nargs='*', default=[], help='as of tools/train.py')
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def options_of(args: argparse.Namespace) -> list[str]:
    """Options of `tools/train.py`; writes the classifier's images when they are not there."""
    options = [
        f'swap.phase_settings.learn.iters={args.iters}',
        'swap.phase_settings.learn.epochs=None',
        f'default_hooks.logger.interval={WINDOW}',
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
    args: argparse.Namespace,
    folder: Path,
    count: int,
    *more: str,
    resume: bool = False,
    device: int | None = None,
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
            env=os.environ
            | dict(PORT=port, PYTHON=sys.executable)
            | ({} if device is None else dict(CUDA_VISIBLE_DEVICES=str(device))),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def lines_of(folder: Path) -> list[dict]:
    """What the run logged so far."""
    found = sorted(folder.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in found[-1].read_text().splitlines()] if found else []


def new_folder(args: argparse.Namespace, what: object) -> Path:
    """A work dir that no other run has."""
    return (args.work_dir / f'{args.task}_{what}_{time.time_ns()}').resolve()


def finished(process: subprocess.Popen, folder: Path) -> None:
    """Waits for a run; ends with the end of its output when it failed."""
    if process.wait():
        sys.exit((folder / 'output.log').read_text()[-3000:])


def times_of(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Milliseconds of an iteration, those of waiting for data in it, and MiB at the peak."""
    lines = [line for line in lines_of(folder) if line.get('step', 0) > args.skip]
    milliseconds, wait = (
        1000 * statistics.median(line[key] for line in lines) for key in ('time', 'data_time')
    )
    memory = max(line.get('memory', 0) for line in lines)
    windows = [1000 * line['time'] for line in lines]
    return dict(milliseconds=milliseconds, wait=wait, memory=memory, windows=windows)


def with_the_slowest(beside: list[dict[str, object]], count: int) -> float:
    """Milliseconds that processes would need that only wait for the slowest of them.

    Each logged time is a mean of `WINDOW` iterations, so one iteration spreads by the root of
    that more. The expected largest of ``count`` normal values is taken over their quantiles.
    """
    times = [time for row in beside for time in row['windows']]
    spread = statistics.stdev(times) * WINDOW**0.5
    points = [((2 * i + 1) / 4000) ** (1 / count) for i in range(2000)]
    largest = statistics.mean(map(statistics.NormalDist().inv_cdf, points))
    return statistics.mean(times) + spread * largest


def measured(args: argparse.Namespace, count: int) -> dict[str, object]:
    """One run and its figures."""
    folder = new_folder(args, count)
    finished(start(args, folder, count), folder)
    digests = {(folder / f'digest_rank{rank}.txt').read_text() for rank in range(count)}
    return dict(processes=count, **times_of(args, folder), equal=len(digests) == 1)


def beside_each_other(args: argparse.Namespace) -> list[dict[str, float]]:
    """Figures of separate runs at once, a GPU each."""
    folders = [new_folder(args, f'beside{device}') for device in range(args.beside)]
    runs = [start(args, folder, 1, device=i) for i, folder in enumerate(folders)]
    for run, folder in zip(runs, folders, strict=True):
        finished(run, folder)
    return [times_of(args, folder) for folder in folders]


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
    """Goes on with fewer processes, which share the images of all; returns what the log says."""
    config = Config.fromfile(folder / f'{CONFIGS[args.task]}.py')
    each = count * config.train_dataloader.batch_size // args.resume_with
    batch = f'train_dataloader.batch_size={each}'
    code = start(args, folder, args.resume_with, batch, resume=True).wait()
    lines = (folder / 'output.log').read_text()
    if code or not (folder / 'digest_rank0.txt').exists():
        sys.exit(lines[-9000:])
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
    if args.beside:
        result['beside'] = beside_each_other(args)
        each = ', '.join(f'{row["milliseconds"]:.1f}' for row in result['beside'])
        print(f'\n{args.beside} separate runs at once: {each} ms an iteration', flush=True)
        result['slowest'] = with_the_slowest(result['beside'], max(args.processes))
        print(f'The slowest of {max(args.processes)}, by their spread: {result["slowest"]:.1f} ms')
    if args.kill_a_rank:
        folder = new_folder(args, 'killed')
        count = max(args.processes)
        result['seconds_to_end'] = seconds_to_end(args, folder, count)
        print(f'\nAfter a rank was killed, the job ended in {result["seconds_to_end"]:.1f} s.')
        result['resumed_with'] = args.resume_with
        result['resumed'] = resumed_at(args, folder, count).split(' - ')[-1]
        print(f'{args.resume_with} went on: {result["resumed"]}')
    if args.out:
        args.out.write_text(json.dumps(result) + '\n')
    sys.exit(not all(row['equal'] for row in rows))


if __name__ == '__main__':
    main()
