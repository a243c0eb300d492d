"""Time, memory and use of the hardware of a training step, against loops written by hand.

    python benchmarks/step_time.py classification                         # CPU-sized
    python benchmarks/step_time.py classification --preset gpu --precision fp32 tf32 bf16
    python benchmarks/step_time.py detection --preset gpu --precision bf16 --alone
    python benchmarks/step_time.py classification --preset gpu-large --only compiled

All loops get the same model, images that are ready on the device, and the same optimizer; they
take turns in one process, so that the ratios do not depend on what else the machine does. A turn is
`--stretch` steps; between its ends a loop waits for the device only where it does so by itself.
Printed first is the comparison with the fastest loop written by hand. Of these, the compiled ones
have a row for each of `--peer-modes`; that of timm is measured where timm is installed.
`--alone` adds rows for no acceleration and for each alone, `--without` for all but each.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from training_steps.compiled_peers import MissingPeer, peer_loops
from training_steps.loop import PRECISIONS, Loop, use_precision
from training_steps.matrix_peak import matrix_peak
from training_steps.measure import held, measure, operations, peak_memory, reserved
from training_steps.official_loop import OfficialLoop
from training_steps.plain_loop import PlainLoop
from training_steps.step_task import StepTask, task_class
from training_steps.swapper_loop import SwapperLoop

import knowswap_mm  # noqa: F401  (registers the modules)
from knowswap_mm.acceleration import DEFAULTS
from knowswap_mm.acceleration.graphed_backbone import GraphedModule

TASKS = ('classification', 'detection', 'segmentation')
OURS = 'knowswap_mm'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=TASKS)
    parser.add_argument('--preset', choices=['cpu', 'gpu', 'gpu-large'], default='cpu')
    parser.add_argument('--precision', choices=PRECISIONS, nargs='+', default=['fp32'])
    parser.add_argument('--batch', type=int, help='images a role; the preset has its own')
    parser.add_argument('--steps', type=int, default=20, help='turns of each loop')
    parser.add_argument('--stretch', type=int, default=4, help='steps of a turn')
    parser.add_argument('--warm-up', type=int, default=2, help='turns that are not counted')
    parser.add_argument('--accelerations', nargs='*', help='instead of those that are the default')
    parser.add_argument('--alone', action='store_true', help='none, and each acceleration alone')
    parser.add_argument('--without', nargs='*', metavar='NAME',
                        help='all accelerations but each of these; nothing: of all')  # fmt: skip
    parser.add_argument('--only', nargs='*', metavar='WORD',
                        help='loops by hand with such a word in their name')  # fmt: skip
    parser.add_argument('--peer-modes', nargs='+', default=['default'],
                        help='modes of torch.compile of the peers, a row each')  # fmt: skip
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def makers(args: argparse.Namespace, precision: str) -> dict[str, Callable[[StepTask], Loop]]:
    """The loops of a precision by name."""
    chosen = DEFAULTS if args.accelerations is None else args.accelerations
    found: dict[str, Callable[[StepTask], Loop]] = {
        OURS: lambda task: SwapperLoop(task, precision, chosen)
    }
    if args.alone:
        found['no acceleration'] = lambda task: SwapperLoop(task, precision, ())
        for name in chosen if len(chosen) > 1 else ():
            found[f'{name} alone'] = lambda task, name=name: SwapperLoop(task, precision, (name,))
    if args.without is not None and len(chosen) > 1:
        for name in args.without or chosen:
            if name not in chosen:
                raise SystemExit(f'--without {name}: it is none of {list(chosen)}.')
            others = tuple(other for other in chosen if other != name)
            found[f'all but {name}'] = lambda task, rest=others: SwapperLoop(task, precision, rest)
    by_hand: dict[str, Callable[[StepTask], Loop]] = {}
    for name, (kind, mode) in peer_loops(args.task, args.peer_modes).items():
        by_hand[name] = lambda task, kind=kind, mode=mode: kind(task, precision, mode)
    if args.task == 'classification':
        by_hand['plain, one forward'] = lambda task: PlainLoop(task, precision, fused=True)
    by_hand['plain, two forwards'] = lambda task: PlainLoop(task, precision)
    by_hand['official structure'] = lambda task: OfficialLoop(task, precision)
    for name, make in by_hand.items():
        if args.only is None or any(word in name for word in args.only):
            found[name] = make
    return found


def run(args: argparse.Namespace, precision: str) -> list[dict]:
    """Measures the loops of one precision; returns a row each."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    use_precision(precision)
    task = task_class(args.task)(args.preset, args.batch, device)
    # What libraries allocate once (workspaces of products) is to count for no loop.
    SwapperLoop(task, precision, ()).step()
    loops, own, graphs = {}, {}, {}
    for name, make in makers(args, precision).items():
        before, before_graphs = held(), reserved()
        try:
            loops[name] = make(task)
        except MissingPeer as error:
            print(f'The row "{name}" is left out: {error}.')
            continue
        loops[name].step()  # optimizers allocate their state in the first one
        own[name] = held() - before
        if isinstance(getattr(loops[name].host, 'backbone', None), GraphedModule):
            for _ in range(4):
                loops[name].step()
            # What a graph uses is reserved and, between steps, not allocated.
            graphs[name] = (reserved() - before_graphs) // 2**20
    times = measure(loops, args.steps, args.warm_up, args.stretch)
    # Counted without accelerations, whose operators are not known to the counter.
    work = operations(loops.get('plain, two forwards') or SwapperLoop(task, precision, ()))
    peak = matrix_peak(device, precision)
    ours = statistics.median(times[OURS])
    rows = []
    for name, loop in loops.items():
        low, median, high = statistics.quantiles(times[name], n=4)
        rows.append(
            dict(
                loop=name,
                precision=precision,
                compile=loop.compiled,
                dropout=loop.dropout(),
                milliseconds=median,
                low=low,
                high=high,
                pictures=2000 * task.batch / median,
                memory=graphs.get(name) or peak_memory(loop, own[name]),
                share=1000 * work / median / peak,
                ratio=median / ours,
                by_hand=isinstance(loop, PlainLoop),
            )
        )
    print(f'{2 * task.batch} images of {task.picture[1]} x {task.picture[0]}, {precision}: '
          f'{work:.2f} TFLOP a step; matrix products reach {peak:.1f} TFLOP/s')  # fmt: skip
    del loops
    gc.collect()
    torch.cuda.empty_cache()
    return rows


def comparison(rows: list[dict]) -> str:
    """Our time and memory beside those of the fastest loop by hand, a sentence a precision."""
    lines = []
    for ours in (row for row in rows if row['loop'] == OURS):
        others = [row for row in rows if row['precision'] == ours['precision'] and row['by_hand']]
        if not others:
            continue
        best = min(others, key=lambda row: row['milliseconds'])
        memory = f', {ours["memory"] / best["memory"]:.2f} of its memory' if best['memory'] else ''
        lines.append(
            f'{ours["precision"]}: {best["ratio"]:.2f} times as fast as the best loop by hand, '
            f'"{best["loop"]}" ({ours["milliseconds"]:.1f} against {best["milliseconds"]:.1f} ms)'
            f'{memory}'
        )
    return '\n'.join(lines)


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        '| loop | precision | compiled | dropout | ms a step (quartiles) | pictures/s | peak MiB '
        '| of peak | ratio |',
        '| --- ' * 9 + '|',
    ]
    for row in rows:
        memory = '-' if row['memory'] is None else f'{row["memory"]:,}'
        lines.append(
            f'| {row["loop"]} | {row["precision"]} | {row["compile"]} | {row["dropout"]} | '
            f'{row["milliseconds"]:.1f} '
            f'({row["low"]:.1f} to {row["high"]:.1f}) | {row["pictures"]:,.0f} | {memory} | '
            f'{100 * row["share"]:.0f} % | {row["ratio"]:.2f} |'
        )
    return '\n'.join(lines)


def main() -> None:
    """Measures, prints and writes."""
    args = parse_args()
    rows = [row for precision in args.precision for row in run(args, precision)]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    print(f'\n{args.task}, preset {args.preset}, {device}, PyTorch {torch.__version__}\n')
    print(comparison(rows), table(rows), sep='\n\n')
    if args.out:
        about = dict(task=args.task, preset=args.preset, device=device, torch=torch.__version__)
        args.out.write_text(json.dumps(dict(about, rows=rows), indent=1) + '\n')


if __name__ == '__main__':
    main()
