"""The largest host and batch that a card can train.

    python benchmarks/largest.py classification --precision bf16 --cards 24 80
    python benchmarks/largest.py detection --hosts Swin-large --out largest_detection.json

Memory of a step is measured at two batches, with activations kept and with those of each block of
the backbone computed again (`activation_checkpointing` in a config). It grows by the image, so that
two points tell how many fit into a card; that batch is then trained with no more memory than the
card has, and made smaller until it fits. A GPU with the memory of the largest card is needed.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scale import architectures
from training_steps.loop import PRECISIONS, use_precision
from training_steps.measure import held, measure, peak_memory
from training_steps.step_task import StepTask, task_class
from training_steps.swapper_loop import SwapperLoop

import knowswap_mm  # noqa: F401  (registers the modules)
from knowswap_mm.acceleration import DEFAULTS
from knowswap_mm.engine.checked_runner import compute_again
from knowswap_mm.engine.checks import modules_like

#: GiB of a card that a process cannot have: its context, and what libraries allocate by themselves.
TAKEN = 1.0
#: The blocks of a backbone, and the batches, in images a role, at which memory is measured.
BLOCKS = dict(
    classification='host.backbone.layers.*',
    detection='host.backbone.stages.*.blocks.*',
    segmentation='host.backbone.stages.*.blocks.*',
)
BATCHES = dict(classification=(16, 48), detection=(1, 2), segmentation=(2, 4))
HUGE = {'model.host.backbone.arch': 'h', 'model.host.head.in_channels': 1280}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('task', choices=list(BLOCKS))
    parser.add_argument('--precision', choices=PRECISIONS, default='bf16')
    parser.add_argument('--cards', type=int, nargs='+', default=[24, 80], help='GiB of each')
    parser.add_argument('--hosts', nargs='+', help='some of the hosts, e.g. ViT-L')
    parser.add_argument('--accelerations', nargs='*', default=list(DEFAULTS))
    parser.add_argument('--out', type=Path, help='json file')
    return parser.parse_args()


def hosts(task: str) -> dict[str, dict[str, Any]]:
    """Changes of the config of the GPU preset by host."""
    found = architectures(task)
    return found | {'ViT-H': HUGE} if task == 'classification' else found


def built(task: StepTask, args: argparse.Namespace, again: bool) -> SwapperLoop:
    """A loop, after the step in which its optimizer allocates its state."""
    loop = SwapperLoop(task, args.precision, args.accelerations)
    if again:
        compute_again(loop.model, modules_like(BLOCKS[args.task], loop.model))
    loop.step()
    return loop


def give(loop: SwapperLoop, task: StepTask) -> None:
    """Let a loop go on with other batches: a large model takes longer to build than to measure."""
    loop.task, loop.model.schedule = task, task.schedule()


def fitting(low: tuple[int, int], high: tuple[int, int], card: float) -> int:
    """How many images a role fit, by a line through two measurements.

    Args:
        low (tuple[int, int]): Images a role and MiB of one.
        high (tuple[int, int]): Those of the other.
        card (float): GiB of the card.

    Returns:
        int: At least 0.
    """
    an_image = (high[1] - low[1]) / (high[0] - low[0])
    return max(int(low[0] + (1024 * (card - TAKEN) - low[1]) / an_image), 0)


def trained(loop: SwapperLoop, make: Callable[[int], StepTask], batch: int, card: float) -> Any:
    """Images a role that a card does train, from ``batch`` down, and milliseconds of a step."""
    whole = torch.cuda.get_device_properties(0).total_memory / 2**30
    torch.cuda.set_per_process_memory_fraction(min((card - TAKEN) / whole, 1.0))
    try:
        while batch:
            try:
                give(loop, make(batch))
                return batch, min(measure({'ours': loop}, 3, 1)['ours'])
            except torch.OutOfMemoryError:
                batch = min(batch - 1, int(0.95 * batch))
            finally:
                tidy()
        return 0, None
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def tidy() -> None:
    """Give back what nobody holds."""
    gc.collect()
    torch.cuda.empty_cache()


def row_of(name: str, options: dict[str, Any], again: bool, args: argparse.Namespace) -> dict:
    """What is measured of a host."""

    def make(batch: int) -> StepTask:
        return task_class(args.task)('gpu', batch, 'cuda', options)

    tidy()
    before, batches = held(), BATCHES[args.task]
    loop, points = built(make(batches[0]), args, again), []
    for batch in batches:
        give(loop, make(batch))
        loop.step()  # what libraries allocate for a size is no part of a step
        points.append((batch, peak_memory(loop, held() - before)))
        tidy()
    row: dict[str, Any] = dict(host=name, again=again, points=points, cards={})
    for card in args.cards:
        line = fitting(*points, card)
        batch, milliseconds = trained(loop, make, line, card)
        row['cards'][card] = dict(by_line=line, batch=batch, milliseconds=milliseconds)
    return row


def table(rows: list[dict], cards: list[int]) -> str:
    """The rows in Markdown."""
    heads = ['host', 'activations', 'MiB an image a role']
    heads += [f'{card} GiB: images a role (ms a step)' for card in cards]
    lines = [heads, ['---'] * len(heads)]
    for row in rows:
        (few, small), (many, large) = row['points']
        cells = [row['host'], 'computed again' if row['again'] else 'kept']
        cells.append(f'{(large - small) / (many - few):,.0f}')
        for card in cards:
            found = row['cards'][card]
            cells.append(f'{found["batch"]} ({found["milliseconds"]:,.0f})'
                         if found['batch'] else 'none')  # fmt: skip
        lines.append(cells)
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def main() -> None:
    """Measures, prints and writes."""
    args = parse_args()
    if not torch.cuda.is_available():
        raise SystemExit('There is no GPU to measure the memory of.')
    use_precision(args.precision)
    logging.disable(logging.INFO)  # mmengine tells of each tensor that it initialises
    known, rows = hosts(args.task), []
    if unknown := sorted(set(args.hosts or ()) - set(known)):
        raise SystemExit(f'--hosts {unknown[0]}: it is none of {", ".join(known)}.')
    for name in args.hosts or known:
        for again in (False, True):
            rows.append(row_of(name, known[name], again, args))
            print(table(rows[-1:], args.cards).splitlines()[-1], flush=True)
            if args.out:  # each time: what was measured is not lost if the rest is stopped
                device = torch.cuda.get_device_name()
                kept = dict(vars(args), out=None, device=device, rows=rows)
                args.out.write_text(json.dumps(kept) + '\n')
    print(f'\n{args.task}, {args.precision}, PyTorch {torch.__version__}\n')
    print(table(rows, args.cards))


if __name__ == '__main__':
    main()
