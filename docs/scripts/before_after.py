"""Draws the image of the README: one sample of each role, before and after a swap.

python benchmarks/real_swaps.py --work-dir work --swaps grocery --recipes auto --seeds 0
python docs/scripts/before_after.py work/runs/grocery_auto_seed0 --samples 0 3 4 5 9 10
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
    """A column a sample: what the first and the last state say of it.

    Where answers are drawn into the image, it stands there twice; a classifier's are words beneath.
    """
    index = json.loads((folder / IMAGES_FILE).read_text(encoding='utf-8'))
    states = dict(before=index['states'][0], after=index['states'][-1])
    drawn = any(states['after']['predictions'][number]['file'] for number in samples)
    rows = [[word] for word in states] if drawn else [list(states)]
    width, below, size = (2.5, 0.45, 9) if drawn else (1.85, 0.75, 8)
    with pyplot.rc_context({'font.family': 'sans-serif', 'font.size': size}):
        figure, grid = pyplot.subplots(
            len(rows), len(samples), squeeze=False, layout='constrained',
            figsize=(width * len(samples) + 0.3, len(rows) * (width + below)),
        )  # fmt: skip
        for column, number in enumerate(samples):
            sample = index['samples'][number]
            for axes, words in zip(grid[:, column], rows, strict=True):
                said = {word: states[word]['predictions'][number] for word in words}
                file = said[words[0]]['file'] or sample['truth']['file']
                axes.imshow(Image.open(folder / file))
                axes.set_xticks([], [])
                axes.set_yticks([], [])
                told = [f'{word}: {each["caption"]}' for word, each in said.items()]
                axes.set_xlabel('\n'.join(told))
            colour = STYLES[sample['role']][0]
            grid[0, column].set_title(sample['role'], color=colour, fontsize=12, weight='bold')
        figure.savefig(path, dpi=90, metadata=dict(Software=None))
        pyplot.close(figure)
    # So many colours are plenty, and make the file small; the words keep theirs.
    few = Image.open(path).convert('RGB').quantize(256, Image.Quantize.MAXCOVERAGE)
    few.save(path, optimize=True)


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
