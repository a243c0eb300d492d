"""Three tiny swaps in a row through tools/continual.py, in this process."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer
from PIL import Image

from knowswap_mm.cli.main import main
from knowswap_mm.cli.options import command_of
from tests.helpers.swap_configs import OLD, forget, learn, swap_config, write_config

TOOLS = Path(__file__).parents[2] / 'tools'
#: What each swap learns, forgets and retains; the second forgets what the first learned.
SWAPS = [('x', 'b', 'acde'), ('y', 'x', 'acde'), ('z', 'd', 'acey')]

#: A class that was learned to the last bit has next to no gradient: a larger weight than usual.
FORGET = dict(
    merge_learned=True,
    merged_share=0.3,
    bound=20.0,
    weights=dict(retain=1.0, forget=1.0, sparsity=0.005),
)


def add_class(tree: Path, target: Path) -> Path:
    """Copy the images and add the class z, which has a colour of its own."""
    shutil.copytree(tree, target)
    rng = np.random.default_rng(1)
    for part in ('train', 'val'):
        (target / part / 'z').mkdir()
        for number in range(len(list((target / part / 'a').iterdir()))):
            pixels = rng.normal((245, 245, 245), 20, size=(16, 16, 3)).clip(0, 255)
            path = target / part / 'z' / f'{number:02d}.png'
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return target


def write_configs(tree: Path, folder: Path, host: Path, iters: tuple[int, int]) -> list[Path]:
    """The configs of the three swaps."""
    paths, old = [], list(OLD)
    for number, (new, gone, kept) in enumerate(SWAPS, 1):
        classes = dict(old=list(old), learn=[new], forget=[gone], retain=list(kept))
        config = swap_config(
            tree,
            folder / f'swap{number}',
            [learn(iters=iters[0]), forget(iters=iters[1], **FORGET)],
            host=host,
            policy='all',
            batch_size=16,
            swap__classes=classes,
            model__host__head__num_classes=len(old) + 1,
            model__head__old_classes=len(old),
        )
        config.test_evaluator.metric.append(dict(type='knowswap_mm.PerClassAccuracy'))
        paths.append(write_config(config, folder / f'config{number}.py'))
        old.append(new)
    return paths


def run_tool(tool: Path, *arguments: object) -> None:
    """Run a tool in this process: a new one would import for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(tool), *map(str, arguments)])
        runpy.run_path(str(tool), run_name='__main__')


def forget_others() -> None:
    """Begin as a process does: two runs of the same second would share loggers and their files."""
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()


def run_command(command: list[str]) -> list[str]:
    """Run in this process what a command of ours would start; returns it without its Python."""
    assert command[:3] == command_of('')[:3]
    forget_others()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['knowswap', *command[3:]])
        main(command[3:])
    return command[3:]


def continual(*arguments: object) -> list[list[str]]:
    """Run tools/continual.py; returns the commands that it ran."""
    done = []

    def call(command: list[str], **_: object) -> int:
        done.append(run_command(command))
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('subprocess.call', call)
        run_tool(TOOLS / 'continual.py', *arguments)
    return done
