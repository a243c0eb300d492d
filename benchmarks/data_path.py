"""Images per second that the training data loader serves, without a model.

    python benchmarks/data_path.py                    # two CPU cores
    python benchmarks/data_path.py --preset server    # 16 cores and more

Writes JPEGs of the size of ImageNet's (500 x 400) into a temporary folder and reads them as the
ImageNet-100 swap does: its pipeline, its collate function, two roles in each batch. Each way to
cache is a process of its own; its epochs follow one another without a pause, and the first one
includes the start of the workers. ``disk, next run`` finds what ``disk`` has kept. The last column
is the CPU time that the loader takes of the training process itself.
"""

from __future__ import annotations

import argparse
import itertools
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
CONFIG = REPOSITORY / 'configs/classification/vit-b16_imagenet100_learn-forget_parity.py'
FILES, WIDTH, HEIGHT = 64, 500, 400
#: Images, batch size, workers, epochs.
PRESETS = dict(cpu=(512, 64, 2, 3), server=(16_000, 160, 14, 3))
WAYS = {
    'none': None,
    'memory': dict(where='memory', size='8GB'),
    'disk': dict(where='disk', size='8GB'),
    'disk, next run': dict(where='disk', size='8GB'),
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--preset', choices=PRESETS, default='cpu')
    parser.add_argument('--pictures', type=int)
    parser.add_argument('--batch', type=int)
    parser.add_argument('--workers', type=int)
    parser.add_argument('--epochs', type=int)
    parser.add_argument(
        '--pipeline', help='file of a config whose field `pipeline` is read instead'
    )
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=list(WAYS))
    parser.add_argument('--out', type=Path, help='json file')
    parser.add_argument('--child', help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = ('pictures', 'batch', 'workers', 'epochs')
    for name, value in zip(names, PRESETS[args.preset], strict=True):
        setattr(args, name, getattr(args, name) or value)
    return args


def write_masters(folder: Path) -> list[Path]:
    """A few JPEGs, which compress about as photographs do."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    found = []
    for i in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        noise = rng.integers(-12, 12, (HEIGHT, WIDTH, 3))
        found.append(folder / f'{i}.jpg')
        Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).save(found[-1], quality=90)
    return found


def write_pictures(root: Path, count: int) -> None:
    """Class folders with links to the masters."""
    masters = write_masters(root / 'masters')
    for name in ('old', 'new'):
        folder = root / 'train' / name
        folder.mkdir(parents=True)
        for i in range(count // 2):
            os.link(masters[i % FILES], folder / f'{i:06d}.jpg')


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Epochs of one way, in this process."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import DATASETS, DefaultScope
    from mmengine.runner import Runner

    import knowswap_mm  # noqa: F401
    from knowswap_mm.schedule import SwapSchedule

    given = json.loads(args.child)
    loader = Config.fromfile(CONFIG).train_dataloader
    pipeline = loader.dataset.roles.learn.dataset.pipeline
    data = dict(type='CustomDataset', data_prefix=f'{given["root"]}/train', pipeline=pipeline)
    roles = dict(learn=dict(dataset=data), retain=dict(dataset=data))
    cache = given['cache'] and dict(given['cache'])
    if cache and cache['where'] == 'disk':
        cache['folder'] = f'{given["root"]}/kept'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(
            dict(
                type='knowswap_mm.RoleDataset',
                roles=roles,
                classes=dict(old=['old'], learn=['new']),
                cache=cache,
            )
        )
        batches = len(dataset) // args.batch
        phase = dict(
            kind='learn',
            iters=batches * args.epochs,
            weights=dict(learn=1.0, retain=1.0),
            split=dict(learn=args.batch // 2, retain=args.batch // 2),
        )
        schedule = SwapSchedule.from_config(dict(phases=[phase]), dataset.role_sizes, args.batch)
        loader.update(
            dataset=dataset,
            batch_size=args.batch,
            num_workers=args.workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=args.workers > 0,
            sampler=dict(type='knowswap_mm.SwapSampler', schedule=schedule),
        )
        loader = Runner.build_dataloader(loader, seed=0)
    rates, cpu = [], time.process_time()
    stream = None
    for _ in range(args.epochs):
        start, cpu = time.perf_counter(), time.process_time()
        stream = iter(loader) if stream is None else stream
        for batch in itertools.islice(stream, batches):
            if len(batch['data_samples']) != args.batch:
                sys.exit('a batch is not whole')
        rates.append(batches * args.batch / (time.perf_counter() - start))
        cpu = (time.process_time() - cpu) / batches * 1000
    return dict(pictures_per_s=rates, process_ms_per_batch=cpu)


def main() -> None:
    """Print the table."""
    args = parse_args()
    if args.child:
        print('measured', json.dumps(measure(args)))
        return
    head = ' | '.join(f'epoch {i + 1}' for i in range(args.epochs))
    print(
        f'{args.pictures:,} images, batches of {args.batch}, {args.workers} workers, '
        f'{os.cpu_count()} cores; pictures/s\n\n'
        f'| cache | {head} | CPU ms a batch |\n| --- |{" --- |" * (args.epochs + 1)}'
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), args.pictures)
        for way in args.ways:
            child = json.dumps(dict(root=folder, cache=WAYS[way]))
            done = subprocess.run(
                [sys.executable, *sys.argv, '--child', child],
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | dict(OMP_NUM_THREADS='1'),
            )
            line = [x for x in done.stdout.splitlines() if x.startswith('measured ')]
            if done.returncode or not line:
                sys.exit(done.stderr[-3000:] or done.stdout[-3000:])
            row = json.loads(line[0].removeprefix('measured '))
            rows.append(dict(cache=way, **row))
            rates = ' | '.join(f'{rate:,.0f}' for rate in row['pictures_per_s'])
            print(f'| {way} | {rates} | {row["process_ms_per_batch"]:.1f} |', flush=True)
    if args.out:
        setting = {name: getattr(args, name) for name in ('pictures', 'batch', 'workers')}
        args.out.write_text(json.dumps(dict(**setting, cores=os.cpu_count(), rows=rows)) + '\n')


if __name__ == '__main__':
    main()
