"""How time, memory and traffic of a training step grow with rank, batch, model and roles.

    python benchmarks/scale.py classification                       # CPU-sized
    python benchmarks/scale.py classification --preset gpu --precision bf16 --vary rank batch arch

One thing varies at a time, the others stay as the preset has them. The last table is an estimate,
not a measurement: processes exchange the gradients of what trains (LoRA matrices) in
a ring, `2 (N - 1) / N` times their bytes over a link of `--bandwidth` GB/s, with `--latency`
microseconds a hop, and nothing of it is hidden behind the backward pass.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from training_steps.loop import PRECISIONS, use_precision
from training_steps.measure import held, measure, peak_memory
from training_steps.step_task import task_class
from training_steps.swapper_loop import SwapperLoop

import knowswap_mm  # noqa: F401  (registers the modules)
from knowswap_mm.acceleration import DEFAULTS

PROCESSES = (1, 2, 8, 16, 32, 64)
ROLES = (('learn', 'retain'), ('forget', 'retain'), ('learn', 'forget', 'retain'))
VIT = (('S', 'deit-small', 384), ('B', 'base', 768), ('L', 'large', 1024))
SWIN = dict(
    tiny=dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    base=dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    large=dict(embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48)),
)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=['classification', 'detection', 'segmentation'])
    parser.add_argument('--preset', choices=['cpu', 'gpu'], default='cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32')
    parser.add_argument('--vary', nargs='+', choices=['rank', 'batch', 'roles', 'arch'],
                        default=['rank', 'batch', 'roles'])  # fmt: skip
    parser.add_argument('--ranks', type=int, nargs='+', default=[1, 4, 8, 16, 32, 64])
    parser.add_argument('--batches', type=float, nargs='+', default=[0.25, 0.5, 1, 2],
                        help="times the preset's batch")  # fmt: skip
    parser.add_argument('--accelerations', nargs='*', default=list(DEFAULTS))
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--bandwidth', type=float, default=25.0, help='GB/s between hosts')
    parser.add_argument('--latency', type=float, default=20.0, help='microseconds a hop')
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def architectures(task: str) -> dict[str, dict[str, Any]]:
    """Changes of the GPU preset's config for smaller and larger hosts."""
    if task == 'classification':
        return {
            f'ViT-{name}': {
                'model.host.backbone.arch': arch,
                'model.host.head.in_channels': width,
            }
            for name, arch, width in VIT
        }
    found = {}
    for name, arch in SWIN.items():
        options = {f'model.host.backbone.{key}': value for key, value in arch.items()}
        widths = [arch['embed_dims'] * 2**stage for stage in range(4)]
        if task == 'detection':
            options['model.host.neck.in_channels'] = widths[1:]
        else:
            options['model.host.decode_head.in_channels'] = widths
        found[f'Swin-{name}'] = options
    return found


def variations(args: argparse.Namespace, batch: int) -> list[dict[str, Any]]:
    """What is measured: names, and arguments of the task."""
    found: list[dict[str, Any]] = []
    if 'rank' in args.vary:
        found += [dict(name=f'rank {r}', options={'model.lora.rank': r}) for r in args.ranks]
    if 'batch' in args.vary:
        sizes = sorted({max(int(batch * factor), 1) for factor in args.batches})
        found += [dict(name=f'{size} images a role', batch=size) for size in sizes]
    if 'roles' in args.vary:
        found += [dict(name=' + '.join(roles), roles=roles) for roles in ROLES]
    if 'arch' in args.vary:
        if args.preset != 'gpu':
            raise SystemExit('--vary arch: large hosts are those of --preset gpu.')
        found += [dict(name=n, options=o) for n, o in architectures(args.task).items()]
    return found


def measured(kind: type, args: argparse.Namespace, choice: dict[str, Any]) -> dict[str, Any]:
    """Time, memory and traffic of one variation."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    settings = {key: value for key, value in choice.items() if key != 'name'}
    task = kind(args.preset, settings.pop('batch', None), device, **settings)
    before = held()
    loop = SwapperLoop(task, args.precision, args.accelerations)
    loop.step()
    own = held() - before
    times = measure({'ours': loop}, args.steps, 3)['ours']
    trained = sum(p.numel() for p in loop.model.parameters() if p.requires_grad)
    row = dict(
        name=choice['name'],
        milliseconds=statistics.median(times),
        pictures=len(task.roles) * task.batch,
        memory=peak_memory(loop, own),
        trained=trained,
        megabytes=4e-6 * trained,
    )
    del loop
    gc.collect()
    torch.cuda.empty_cache()
    return row


def estimate(row: dict[str, Any], args: argparse.Namespace) -> list[float]:
    """Share of linear scaling for each number of processes, nothing being hidden."""
    shares = []
    for count in PROCESSES:
        ring = 2 * (count - 1) / count * row['megabytes'] / args.bandwidth  # MB / (GB/s) = ms
        hops = 2 * (count - 1) * args.latency / 1000
        shares.append(row['milliseconds'] / (row['milliseconds'] + ring + hops))
    return shares


def main() -> None:
    """Measures, prints and writes."""
    args = parse_args()
    use_precision(args.precision)
    kind = task_class(args.task)
    chosen = variations(args, kind.sizes[args.preset].batch)
    if torch.cuda.is_available():  # what libraries allocate once is to count for no row
        measured(kind, args, chosen[0])
    rows = [measured(kind, args, choice) for choice in chosen]
    print(f'{args.task}, preset {args.preset}, {args.precision}, PyTorch {torch.__version__}\n')
    print('| | ms a step | pictures/s | peak MiB | trained | MB exchanged |')
    print('| --- | --- | --- | --- | --- | --- |')
    for row in rows:
        memory = '-' if row['memory'] is None else f'{row["memory"]:,}'
        speed = 1000 * row['pictures'] / row['milliseconds']
        print(f'| {row["name"]} | {row["milliseconds"]:.1f} | {speed:,.0f} | {memory} | '
              f'{row["trained"]:,} | {row["megabytes"]:.1f} |')  # fmt: skip
    print(f'\nEstimated share of linear scaling ({args.bandwidth:g} GB/s, {args.latency:g} us)\n')
    print('| processes | ' + ' | '.join(map(str, PROCESSES)) + ' |')
    print('| --- ' * (len(PROCESSES) + 1) + '|')
    for row in rows:
        row['estimate'] = dict(zip(PROCESSES, estimate(row, args), strict=True))
        cells = [f'{100 * share:.1f} %' for share in row['estimate'].values()]
        print(f'| {row["name"]} | ' + ' | '.join(cells) + ' |')
    if args.out:
        args.out.write_text(json.dumps(dict(vars(args), out=None, rows=rows), indent=1) + '\n')


if __name__ == '__main__':
    main()
