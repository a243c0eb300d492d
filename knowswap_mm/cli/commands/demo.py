"""``knowswap demo``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import command_of, find_checkout

#: The host of each task, as the configs under configs/demo name it.
HOSTS = dict(classification='vit', detection='dino', segmentation='mask2former')
TEXT = """
It needs a clone of the repository: its weights, configs and data tools. The ViT is shown
Fashion-MNIST where its files are, and drawn shapes otherwise; DINO and Mask2Former see drawn
scenes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('--task', choices=list(HOSTS), default='classification', help='what the model does')
    add(
        '--data',
        choices=['auto', 'fashion-mnist', 'shapes'],
        default='auto',
        help='images of the classifier',
    )
    add('--source', help='folder with the .gz files of Fashion-MNIST')
    add('--work-dir', default='work_dirs/demo', help='folder for the results')


def call(root: Path, command: list[str]) -> None:
    """Run a command in the repository and stop with a message if it fails."""
    shown = ' '.join(command[1:])
    print(f'\n$ python {shown}', flush=True)
    env = dict(os.environ, OMP_NUM_THREADS=os.environ.get('OMP_NUM_THREADS', '1'))
    if subprocess.call(command, cwd=root, env=env):
        sys.exit(f'The demo stopped: `{shown}` failed.')


def choose_data(args: argparse.Namespace) -> str:
    """Fashion-MNIST if it was asked for or is at hand, else shapes; scenes for other tasks."""
    from knowswap_mm.data_tools.generators.fashion_mnist import find_source

    if args.task != 'classification':
        return 'shape-scenes'
    if args.data != 'auto':
        return args.data
    try:
        find_source(args.source)
    except FileNotFoundError as error:
        if args.source:
            sys.exit(str(error))
        print(f'Fashion-MNIST is not here ({error}) The demo uses procedural shapes instead.')
        return 'shapes'
    return 'fashion-mnist'


def run(args: argparse.Namespace) -> None:
    """Make the data, swap, and show the results."""
    root = find_checkout('The demo')
    started = time.time()
    data = choose_data(args)
    converter = f'tools/dataset_converters/{data.replace("-", "_")}.py'
    source = ['--source', args.source] if args.source and data == 'fashion-mnist' else []
    call(root, [sys.executable, converter, *source])
    config = f'configs/demo/{HOSTS[args.task]}-demo_{data}_learn-forget.py'
    call(root, command_of('train', config, '--work-dir', args.work_dir))
    show(root / args.work_dir, data)
    print(f'\nThe demo took {time.time() - started:.0f} s.')


def show(work_dir: Path, data: str) -> None:
    """Print what became of each role, and where the files are."""
    from knowswap_mm.runs.files import ADAPTER_FOLDER, REPORT_PAGE, RESULTS_FILE
    from knowswap_mm.runs.reader import RunFolder
    from knowswap_mm.runs.story import Story
    from knowswap_mm.visualization.plots import plot_phases

    record = RunFolder(work_dir)
    results, classes = record.results, record.classes
    picture = plot_phases(results, work_dir / 'phases.png', f'Knowledge swap on {data}')
    print(f'\nlearned:   {", ".join(classes["learn"])}')
    print(f'forgotten: {", ".join(classes["forget"])}')
    print(f'retained:  {", ".join(classes["retain"])}\n')
    print(f'{results.table()}\n')
    print('\n'.join(Story.of(record).lines()) + '\n')
    print(f'report                 {work_dir / REPORT_PAGE}')
    print(f'image                  {picture}')
    print(f'results as json        {work_dir / RESULTS_FILE}')
    print(f'state after each phase {work_dir}/phase*.pth')
    print(f'adapter (safetensors)  {work_dir / ADAPTER_FOLDER}')


COMMAND = Command(
    help='Swap a small pretrained model on the CPU in minutes.',
    examples=(
        'knowswap demo',
        'knowswap demo --source FOLDER   # with the four .gz files of Fashion-MNIST',
        'knowswap demo --task detection',
    ),
    add_arguments=add_arguments,
    run=run,
    order=30,
    text=TEXT,
)
main = COMMAND.main
