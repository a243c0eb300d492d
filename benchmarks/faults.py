"""Kills training runs at random moments and compares what they end with.

    python benchmarks/faults.py classification --kills 70
    python benchmarks/faults.py detection --kills 70 --processes 2 --out faults.json
    python benchmarks/faults.py segmentation --kills 20 --also truncated full

A short swap of the small model runs once undisturbed. Then it is started again and again, each time
killed (SIGKILL to all of its processes, or SIGTERM with `--signal`) at a random moment, and goes on
with `--resume` until it ends. Its weights must be those of the undisturbed run, bit by bit.
`--also truncated` cuts the newest checkpoint at a random byte before some of the resumes. `--also
full` lets some of the starts write less than a checkpoint into a file, as on a disk that gets full.
Runs go on until there were as many kills as asked for. Exit code 1 if a run was lost or differs, or
if one on a full disk did not say so or changed a checkpoint.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
#: Config, and what makes it short.
TASKS = {
    'classification': (
        'configs/demo/vit-demo_shapes_learn-forget.py',
        ['train_dataloader.batch_size=16', 'param_scheduler.0.by_epoch=False'],
    ),
    'detection': ('configs/detection/dino-mini_shapes_learn-forget.py', []),
    'segmentation': ('configs/segmentation/mask2former-mini_shapes_learn-forget.py', []),
}
END = 'phase2_forget.pth'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=TASKS)
    parser.add_argument('--kills', type=int, default=70)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--signal', choices=['KILL', 'TERM'], default='KILL')
    parser.add_argument('--also', nargs='+', choices=['truncated', 'full'], default=[])
    parser.add_argument('--iters', type=int, default=12, help='iterations of each phase')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/faults'))
    parser.add_argument('--cfg-options', nargs='*', default=[], help='as of tools/train.py')
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def start(folder: Path, args: argparse.Namespace, limit: int | None = None) -> subprocess.Popen:
    """Starts or resumes a run in a process group of its own; no file grows beyond the limit."""
    config, options = TASKS[args.task]
    options = [
        *options,
        'default_hooks.checkpoint.interval=3',
        'default_hooks.logger.interval=1',
        *(
            f'swap.phase_settings.{phase}.{key}={value}'
            for phase in ('learn', 'forget')
            for key, value in (('epochs', None), ('iters', args.iters))
        ),
        *args.cfg_options,
    ]
    if not any(option.startswith('val_cfg') for option in options):
        options += ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
    tail = [config, '--work-dir', str(folder), '--resume', '--cfg-options', *options]
    command = [sys.executable, 'tools/train.py', *tail]
    environment = os.environ | dict(OMP_NUM_THREADS='1')
    if args.processes > 1:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            environment |= dict(PORT=str(free.getsockname()[1]), PYTHON=sys.executable)
        command = ['bash', 'tools/dist_train.sh', config, str(args.processes), *tail[1:]]
    if limit is not None:
        command = ['prlimit', f'--fsize={limit}', *command]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'output.log').open('a') as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen, name: str, folder: Path) -> None:
    """Sends the signal to the run, or its launcher, and waits until nothing of it is left."""
    number = signal.SIGKILL if name == 'KILL' else signal.SIGTERM
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
    process.wait()
    # Processes of torchrun are in sessions of their own; workers of loaders end a moment later.
    while subprocess.run(['pgrep', '-f', f'{folder} '], stdout=subprocess.DEVNULL).returncode == 0:
        time.sleep(0.1)


def checkpoints(folder: Path) -> list[Path]:
    """Those of a run, the newest last."""
    return sorted(folder.glob('*.pth'), key=lambda path: path.stat().st_mtime_ns)


def cut_newest(folder: Path, cut: dict[Path, int], chance: random.Random) -> bool:
    """Cuts the newest whole checkpoint at a random byte, unless it is the only one."""
    whole = [p for p in checkpoints(folder) if cut.get(p) != p.stat().st_mtime_ns]
    if len(whole) < 2:
        return False
    os.truncate(whole[-1], chance.randrange(whole[-1].stat().st_size))
    cut[whole[-1]] = whole[-1].stat().st_mtime_ns
    return True


def fill_disk(folder: Path, args: argparse.Namespace, chance: random.Random) -> bool:
    """Lets a start fail in its first checkpoint; returns whether it said so and broke nothing."""
    before = {path: path.stat().st_mtime_ns for path in checkpoints(folder)}
    said = (folder / 'output.log').stat().st_size
    smallest = min(path.stat().st_size for path in before)
    code = start(folder, args, int(chance.uniform(0.5, 0.95) * smallest)).wait()
    kept = before == {path: path.stat().st_mtime_ns for path in checkpoints(folder)}
    log = (folder / 'output.log').read_bytes()[said:].decode(errors='replace')
    return bool(code) and kept and 'could not be written' in log


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The end of a run."""
    return torch.load(folder / END, map_location='cpu', weights_only=False)['state_dict']


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two runs ended with the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def campaign(args: argparse.Namespace) -> dict[str, object]:
    """Runs and kills; returns the counts."""
    root = args.work_dir / f'{args.task}_{args.processes}_{args.signal}'
    shutil.rmtree(root, ignore_errors=True)
    begin = time.perf_counter()
    if start(root / 'whole', args).wait():
        sys.exit(
            f'The undisturbed run failed: {(root / "whole" / "output.log").read_text()[-2000:]}'
        )
    duration = time.perf_counter() - begin
    wanted, chance = weights(root / 'whole'), random.Random(args.seed)
    found = dict(kills=0, runs=0, lost=0, different=0, partial_files=0, seconds=round(duration))
    found |= dict(truncated=0, full=0, unsaid=0)
    while found['kills'] < args.kills:
        folder = root / f'run{found["runs"]}'
        left = chance.randint(1, 6)  # times that this run is killed at most
        cut: dict[Path, int] = {}
        for _ in range(50):
            if 'truncated' in args.also and chance.random() < 0.5:
                found['truncated'] += cut_newest(folder, cut, chance)
            fillable = 'full' in args.also and checkpoints(folder) and not cut
            if fillable and not (folder / END).exists() and chance.random() < 0.3:
                found['full'] += 1
                found['unsaid'] += not fill_disk(folder, args, chance)
            process = start(folder, args)
            try:
                code = process.wait(chance.uniform(0.2, 1.0) * duration if left else None)
            except subprocess.TimeoutExpired:
                kill(process, args.signal, folder)
                found['kills'], left = found['kills'] + 1, left - 1
                found['partial_files'] += any(folder.glob('*.partial'))
                continue
            break
        found['runs'] += 1
        if code:
            found['lost'] += 1
            print(f'{folder} ended with {code}: {(folder / "output.log").read_text()[-3000:]}')
        elif not same(weights(folder), wanted):
            found['different'] += 1
        else:
            shutil.rmtree(folder)
        print(f'{found}', flush=True)
    return found


def main() -> None:
    """Runs the campaign, prints and writes."""
    args = parse_args()
    found = campaign(args)
    print('| task | processes | kills | cut files | full disks | runs | lost | different |')
    print('| --- | --- | --- | --- | --- | --- | --- | --- |')
    counts = ('kills', 'truncated', 'full', 'runs', 'lost', 'different')
    cells = [args.task, args.processes, *(found[count] for count in counts)]
    print('| ' + ' | '.join(map(str, cells)) + ' |')
    if args.out:
        setting = dict(task=args.task, processes=args.processes, signal=args.signal)
        args.out.write_text(json.dumps(setting | found) + '\n')
    sys.exit(bool(found['lost'] or found['different'] or found['unsaid']))


if __name__ == '__main__':
    main()
