"""Where the seconds of a small swap go, from the start of Python to the report.

    python tools/dataset_converters/shapes.py
    python benchmarks/first_seconds.py --load-from weights/vit-demo-shapes_7cls.safetensors

Each run is a process of its own. Printed are the medians by stage, of the clock and of the
processor (without the workers that load data). On a machine that does other things, too, the
processor's seconds tell more. `--package` measures another checkout in turns with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = 'configs/demo/vit-demo_shapes_learn-forget.py'
SHORT = ('swap.phase_settings.learn.iters=2', 'swap.phase_settings.forget.iters=2')
FIRST = ('imports', 'building', 'data and run folder', 'evaluation at the start', 'first iteration')
STAGES = (*FIRST, 'more iterations', 'evaluations', 'checkpoints', 'report and end')


class Stages:
    """Seconds by stage; what lies between two marks belongs to the later one."""

    def __init__(self) -> None:
        fields = Path('/proc/self/stat').read_text().rpartition(')')[2].split()
        began = int(fields[19]) / os.sysconf('SC_CLK_TCK')
        self._last = (time.perf_counter() - (time.clock_gettime(time.CLOCK_BOOTTIME) - began), 0.0)
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def mark(self, stage: str) -> None:
        """The time since the last mark was spent on a stage."""
        now = time.perf_counter(), time.process_time()
        for place in range(2):
            self.seconds[stage][place] += now[place] - self._last[place]
        self._last = now

    def timed(self, before: str, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose time is a stage of its own, what led to it another."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.mark(before)
            try:
                return function(*args, **kwargs)
            finally:
                self.mark(stage)

        return call


def child(words: list[str]) -> None:
    """One run; prints its stages as json in the last line."""
    stages = Stages()
    from knowswap_mm.cli.commands import train
    from knowswap_mm.console import import_quietly
    from knowswap_mm.engine.config import open_config

    args = train.COMMAND.parse_args(words)
    cfg = train.merge_args(open_config(args.config), args)
    cfg.setdefault('runner_type', 'knowswap_mm.SwapRunner')
    import_quietly(cfg.get('default_scope'))
    stages.mark('imports')
    from mmengine.hooks import Hook
    from mmengine.registry import RUNNERS
    from mmengine.runner import ValLoop

    runner = RUNNERS.build(cfg)
    stages.mark('building')
    run, begun = ValLoop.run, []

    def evaluate(loop: Any) -> Any:
        stages.mark('more iterations' if begun else 'data and run folder')
        try:
            return run(loop)
        finally:
            stages.mark('evaluations' if begun else 'evaluation at the start')

    ValLoop.run = evaluate
    runner.save_checkpoint = stages.timed('more iterations', 'checkpoints', runner.save_checkpoint)

    class FirstIteration(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
            stages.mark('more iterations' if begun else 'first iteration')
            begun.append(True)

    runner.register_hook(FirstIteration())
    runner.train()
    stages.mark('report and end')
    print(json.dumps(stages.seconds))


def main() -> None:
    """Runs, and prints the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=CONFIG)
    parser.add_argument('--load-from', required=True)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--package', type=Path, help='a checkout that takes turns with this one')
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    found = defaultdict(list)
    for _ in range(args.runs):
        for root in filter(None, (args.package, here)):
            with tempfile.TemporaryDirectory() as folder:
                words = [str(root / args.config), '--work-dir', folder, '--load-from']
                command = [sys.executable, __file__, '--child', *words, args.load_from]
                done = subprocess.run(
                    [*command, '--cfg-options', *SHORT],
                    env=dict(os.environ, PYTHONPATH=str(root)), check=True, capture_output=True,
                    text=True,
                )  # fmt: skip
            found[root].append(json.loads(done.stdout.splitlines()[-1]))
    for root, runs in found.items():
        print(f'\n{root}\n\n| stage | s | s of the processor |\n| --- | --- | --- |')
        totals, first = [0.0, 0.0], [0.0, 0.0]
        for stage in STAGES:
            both = [statistics.median(run[stage][place] for run in runs) for place in range(2)]
            print(f'| {stage} | {both[0]:.1f} | {both[1]:.1f} |')
            totals = [a + b for a, b in zip(totals, both, strict=True)]
            if stage == FIRST[-1]:
                first = totals
        print(f'| to the end of the first iteration | {first[0]:.1f} | {first[1]:.1f} |')
        print(f'| all | {totals[0]:.1f} | {totals[1]:.1f} |')


if __name__ == '__main__':
    child(sys.argv[2:]) if sys.argv[1:2] == ['--child'] else main()
