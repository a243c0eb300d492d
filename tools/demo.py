"""Swaps a small pretrained model on the CPU in minutes, and shows what became of each role.

python tools/demo.py                        # ViT; Fashion-MNIST where its files are, else shapes
python tools/demo.py --source FOLDER        # folder with the four .gz files of Fashion-MNIST
python tools/demo.py --task detection       # DINO on scenes of shapes
python tools/demo.py --task segmentation    # Mask2Former on the same scenes
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from knowswap_mm.datasets.generators import find_source
from knowswap_mm.engine.hooks.phase_hook import RESULTS_FILE
from knowswap_mm.engine.schedule_file import read_schedule
from knowswap_mm.engine.swap_results import SwapResults
from knowswap_mm.errors import SwapError
from knowswap_mm.visualization import plot_phases
from knowswap_mm.visualization.report.report import HTML_FILE

ROOT = Path(__file__).resolve().parents[1]
#: The host of each task, as the configs under configs/demo name it.
HOSTS = dict(classification='vit', detection='dino', segmentation='mask2former')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Swap a small model on the CPU.')
    parser.add_argument('--task', choices=list(HOSTS), default='classification')
    parser.add_argument(
        '--data',
        choices=['auto', 'fashion-mnist', 'shapes'],
        default='auto',
        help='pictures of the classifier',
    )
    parser.add_argument('--source', help='folder with the .gz files of Fashion-MNIST')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for the results')
    return parser.parse_args()


def run(*command: str | Path) -> None:
    """Runs a command of the repository and stops with its exit code if it fails."""
    shown = ' '.join(str(part) for part in command)
    print(f'\n$ python {shown}', flush=True)
    env = dict(os.environ, OMP_NUM_THREADS=os.environ.get('OMP_NUM_THREADS', '1'))
    code = subprocess.call([sys.executable, *command], cwd=ROOT, env=env)
    if code:
        sys.exit(f'The demo stopped: `{shown}` failed.')


def choose_data(args: argparse.Namespace) -> str:
    """Fashion-MNIST if it was asked for or is at hand, else shapes; scenes for other tasks."""
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


def main() -> None:
    """Makes the data, swaps, and shows the results."""
    args = parse_args()
    started = time.time()
    data = choose_data(args)
    converter = ROOT / 'tools' / 'dataset_converters' / f'{data.replace("-", "_")}.py'
    source = ['--source', args.source] if args.source and data == 'fashion-mnist' else []
    run(converter.relative_to(ROOT), *source)
    work_dir = Path(args.work_dir)
    config = f'configs/demo/{HOSTS[args.task]}-demo_{data}_learn-forget.py'
    run('tools/train.py', config, '--work-dir', str(work_dir))
    work_dir = ROOT / work_dir
    try:
        results = SwapResults.read(work_dir / RESULTS_FILE)
        classes = read_schedule(work_dir)['classes']
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')
    picture = plot_phases(results, work_dir / 'phases.png', f'Knowledge swap on {data}')
    print(f'\nlearned:   {", ".join(classes["learn"])}')
    print(f'forgotten: {", ".join(classes["forget"])}')
    print(f'retained:  {", ".join(classes["retain"])}\n')
    print(f'{results.table()}\n')
    print(f'report                 {work_dir / HTML_FILE}')
    print(f'picture                {picture}')
    print(f'results as json        {work_dir / RESULTS_FILE}')
    print(f'state after each phase {work_dir}/phase*.pth')
    print(f'adapter (safetensors)  {work_dir / "adapter"}')
    print(f'\nThe demo took {time.time() - started:.0f} s.')


if __name__ == '__main__':
    main()
