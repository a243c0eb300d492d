"""``knowswap demo``."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import command_of
from knowswap_mm.installation import shipped

#: The host of each task, as the configs under configs/demo name it.
HOSTS = dict(classification='vit', detection='dino', segmentation='mask2former')
TEXT = """
Data go to data/ in the current folder. The ViT is shown Fashion-MNIST where its files are, and
drawn shapes otherwise; DINO and Mask2Former see drawn scenes, and need the operators of mmcv.
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


def call(command: list[str]) -> None:
    """Run a command here and stop with a message if it fails."""
    shown = shlex.join(command[1:])
    print(f'\n$ python {shown}', flush=True)
    env = dict(os.environ, OMP_NUM_THREADS=os.environ.get('OMP_NUM_THREADS', '1'))
    if subprocess.call(command, env=env):
        sys.exit(f'The demo stopped: `{shown}` failed.')


def here(path: Path) -> str:
    """A path as one would type it in the current folder."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


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
    from mmengine.config import Config

    started = time.time()
    data = choose_data(args)
    config = shipped(f'configs/demo/{HOSTS[args.task]}-demo_{data}_learn-forget.py')
    # Not by open_config: it imports torch and the host, which the training does by itself.
    weights = shipped(Config.fromfile(config, import_custom_modules=False).load_from)
    tool = shipped(f'tools/dataset_converters/{data.replace("-", "_")}.py')
    source = ['--source', args.source] if args.source and data == 'fashion-mnist' else []
    call([sys.executable, here(tool), *source])
    options = ('--load-from', here(weights), '--work-dir', args.work_dir)
    call(command_of('train', here(config), *options))
    show(Path(args.work_dir), data)
    print(f'\nThe demo took {time.time() - started:.0f} s.')


def show(work_dir: Path, data: str) -> None:
    """Print what became of each role, and where the files are."""
    from knowswap_mm.runs.files import ADAPTER_FOLDER, REPORT_PAGE, RESULTS_FILE
    from knowswap_mm.runs.reader import RunFolder
    from knowswap_mm.runs.story import Story
    from knowswap_mm.visualization.plots import plot_phases

    record = RunFolder(work_dir)
    results, classes = record.results, record.classes
    image = plot_phases(results, work_dir / 'phases.png', f'Knowledge swap on {data}')
    print(f'\nlearned:   {", ".join(classes["learn"])}')
    print(f'forgotten: {", ".join(classes["forget"])}')
    print(f'retained:  {", ".join(classes["retain"])}\n')
    print(f'report                 {work_dir / REPORT_PAGE}')
    print(f'image                  {image}')
    print(f'results as json        {work_dir / RESULTS_FILE}')
    print(f'state after each phase {work_dir}/phase*.pth')
    print(f'adapter (safetensors)  {work_dir / ADAPTER_FOLDER}')
    print(f'\n{Story.of(record).lines()[0]}')


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
