"""Draws the image of the README: one sample of each role, before and after a swap.

make demo-detection
python docs/scripts/before_after.py work_dirs/demo_detection --samples 1 7 9
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot
from PIL import Image

from knowswap_mm.runs.files import IMAGES_FILE, IMAGES_FOLDER
from knowswap_mm.visualization.plots.style import STYLES

PICTURE = Path(__file__).resolve().parents[1] / 'images' / 'before_after.png'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', type=Path, help='folder of a run')
    parser.add_argument(
        '--samples', type=int, nargs='+', required=True, help='numbers in the list of its samples'
    )
    parser.add_argument('--out', type=Path, default=PICTURE, help='png to write')
    return parser.parse_args()


def draw(folder: Path, samples: list[int], path: Path) -> None:
    """A column a sample: what the first and the last state say of it."""
    index = json.loads((folder / IMAGES_FILE).read_text(encoding='utf-8'))
    states = index['states'][0], index['states'][-1]
    with pyplot.rc_context({'font.family': 'sans-serif', 'font.size': 9}):
        figure, grid = pyplot.subplots(
            2, len(samples), figsize=(2.5 * len(samples) + 0.3, 5.9), layout='constrained'
        )
        for column, number in enumerate(samples):
            sample = index['samples'][number]
            colour = STYLES[sample['role']][0]
            for axes, state, word in zip(grid[:, column], states, ('before', 'after'), strict=True):
                said = state['predictions'][number]
                axes.imshow(Image.open(folder / (said['file'] or sample['truth']['file'])))
                axes.set_xticks([], [])
                axes.set_yticks([], [])
                axes.set_xlabel(f'says: {said["caption"]}')
                if column == 0:
                    axes.set_ylabel(f'{word} the swap', fontsize=11)
            grid[0, column].set_title(sample['role'], color=colour, fontsize=12, weight='bold')
        figure.savefig(path, dpi=90, metadata=dict(Software=None))
        pyplot.close(figure)
    # So many colours are plenty for drawn boxes, and make the file small.
    Image.open(path).convert('RGB').quantize(256).save(path, optimize=True)


def main() -> None:
    """Draws, and says where."""
    args = parse_args()
    folder = args.work_dir / IMAGES_FOLDER
    if not (folder / IMAGES_FILE).is_file():
        sys.exit(f'{folder} holds no images. Fix: name the folder of a run, as train.py left it.')
    draw(folder, args.samples, args.out)
    print(f'{args.out}: {args.out.stat().st_size / 1024:.0f} KiB')


if __name__ == '__main__':
    main()
