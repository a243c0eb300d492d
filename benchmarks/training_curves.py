"""How far accelerations change the loss curve of a training, step for step.

    python benchmarks/training_curves.py classification                     # CPU-sized
    python benchmarks/training_curves.py detection --preset gpu --precision bf16 --out curves.json

Each curve starts from the same weights and trains on the same batch, without dropout, because a
compiled block draws other random numbers. Rows compare with the run without accelerations in the
same precision; the last one shows what the precision itself changes, against fp32.
"""

import argparse
import gc
import json
from pathlib import Path

import torch
from step_time import TASKS
from training_steps.loop import PRECISIONS, use_precision
from training_steps.step_task import task_class
from training_steps.swapper_loop import SwapperLoop

from knowswap_mm.acceleration import DEFAULTS

#: Every rate of dropout in the three hosts.
STILL = {
    'classification': {'model.lora.dropout': 0.0, 'model.host.backbone.drop_rate': 0.0},
    'detection': {'model.lora.dropout': 0.0, 'model.host.backbone.drop_path_rate': 0.0},
    'segmentation': {'model.lora.dropout': 0.0, 'model.host.backbone.drop_path_rate': 0.0},
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=TASKS)
    parser.add_argument('--preset', choices=['cpu', 'gpu'], default='cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32')
    parser.add_argument('--steps', type=int, default=100)
    parser.add_argument('--accelerations', nargs='*', help='instead of those that are the default')
    parser.add_argument('--alone', action='store_true', help='each acceleration alone, too')
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def curve(args: argparse.Namespace, precision: str, accelerations: tuple[str, ...]) -> list[float]:
    """The losses of both roles together, in every step."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    use_precision(precision)
    task = task_class(args.task)(args.preset, None, device, options=STILL[args.task])
    loop = SwapperLoop(task, precision, accelerations)
    for group in loop.wrapper.optimizer.param_groups:
        group['lr'] = 1e-3  # so that much changes
    torch.manual_seed(1)
    logs = [loop.step() for _ in range(args.steps)]
    losses = torch.stack([log['forget/raw'] + log['retain/raw'] for log in logs]).float().tolist()
    del loop, logs
    gc.collect()
    torch.cuda.empty_cache()
    return losses


def difference(one: list[float], other: list[float]) -> tuple[float, float]:
    """Largest and mean difference, as shares of the other curve's values."""
    shares = [abs(a - b) / abs(b) for a, b in zip(one, other, strict=True)]
    return max(shares), sum(shares) / len(shares)


def main() -> None:
    """Trains, compares, prints and writes."""
    args = parse_args()
    chosen = tuple(DEFAULTS if args.accelerations is None else args.accelerations)
    plain = curve(args, args.precision, ())
    curves = {'no acceleration': plain, 'no acceleration, again': curve(args, args.precision, ())}
    if args.alone:
        curves |= {f'{name} alone': curve(args, args.precision, (name,)) for name in chosen}
    curves['all of them'] = curve(args, args.precision, chosen)
    print(f'{args.task}, preset {args.preset}, {args.precision}: loss of {args.steps} steps, '
          f'{plain[0]:.5g} to {plain[-1]:.5g}\n')  # fmt: skip
    print('| run | largest difference | mean difference |\n| --- | --- | --- |')
    for name, losses in list(curves.items())[1:]:
        print('| {} | {:.2g} | {:.2g} |'.format(name, *difference(losses, plain)))
    if args.precision != 'fp32':
        curves['fp32'] = curve(args, 'fp32', ())
        print('| fp32 instead of {} | {:.2g} | {:.2g} |'.format(
            args.precision, *difference(curves['fp32'], plain)))  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(dict(vars(args), out=None, curves=curves)) + '\n')


if __name__ == '__main__':
    main()
