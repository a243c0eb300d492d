"""Turns the idx files of Fashion-MNIST into an ImageFolder tree.

``test`` is the 10,000 test images, ``val`` the last images of every class in the 60,000
training images, ``train`` the others. Besides the folders, ``meta/<split>.txt`` lists all ten
classes, ``meta/old7_<split>.txt`` the seven that the shipped weights know before a swap, and
``meta/retrain8_<split>.txt`` all but the two that our configs forget, with the labels of all ten.
"""

import argparse
import sys
import time

import numpy as np

from knowswap_mm.data_tools.generators.fashion_mnist import (
    FASHION_CLASSES,
    find_source,
    hash_source,
    hold_out,
    load_part,
)
from knowswap_mm.data_tools.generators.trees import Split, write_image_folder
from knowswap_mm.errors import SwapError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fashion-MNIST idx files to an ImageFolder tree')
    parser.add_argument(
        '--source',
        help='folder with the four .gz files; default: the folder of '
        'the Debian package dataset-fashion-mnist',
    )
    parser.add_argument('--out', default='data/fashion_mnist', help='folder to write')
    parser.add_argument(
        '--per-class',
        type=int,
        help='at most so many images of a class in each split; default: all',
    )
    parser.add_argument(
        '--seed',
        type=int,
        help='choose the images of --per-class at random '
        'with this seed; default: the first of each class',
    )
    parser.add_argument(
        '--val-per-class',
        type=int,
        default=500,
        help='images of each class that are held out of the training images',
    )
    parser.add_argument(
        '--old',
        type=int,
        default=7,
        help='number of classes, from the first, that the lists meta/old<N>_<split>.txt hold',
    )
    parser.add_argument(
        '--forget',
        nargs='*',
        default=['trouser', 'sandal'],
        choices=FASHION_CLASSES,
        metavar='CLASS',
        help='classes that the lists meta/retrain<N>_<split>.txt leave out, for retraining from '
        'scratch without them',
    )
    return parser.parse_args()


def write(args: argparse.Namespace) -> None:
    """Writes the data set and says so."""
    if args.seed is not None and args.seed < 0:
        raise ValueError(f'--seed must be 0 or more, not {args.seed}.')
    start = time.perf_counter()
    source = find_source(args.source)
    if not 1 <= args.old <= len(FASHION_CLASSES):
        raise ValueError(f'--old must be from 1 to {len(FASHION_CLASSES)}, not {args.old}.')

    kept = [name for name in FASHION_CLASSES if name not in args.forget]

    def take(part: str, places=None, stream: int = 0) -> Split:
        images, labels = load_part(source, part)
        places = range(len(labels)) if places is None else places
        if args.seed is not None:
            places = np.random.default_rng((args.seed, stream)).permutation(places)
        return Split(images[places], labels[places], [f'{i:05d}' for i in places])

    def held(which: int) -> Split:
        return take(
            'train', hold_out(load_part(source, 'train')[1], args.val_per_class)[which], which
        )

    request = dict(
        generator='fashion_mnist',
        version=1,
        source=hash_source(source),
        seed=args.seed,
        val_per_class=args.val_per_class,
    )
    written = write_image_folder(
        args.out,
        FASHION_CLASSES,
        dict(train=lambda: held(0), val=lambda: held(1), test=lambda: take('test', stream=2)),
        request,
        args.per_class,
        {f'old{args.old}': FASHION_CLASSES[: args.old]},
        {f'retrain{len(kept)}': kept} if args.forget else None,
    )
    word = 'written' if written else 'was there already, nothing to do'
    print(f'{args.out}: {word} ({time.perf_counter() - start:.1f} s)')


def main() -> None:
    args = parse_args()
    try:
        write(args)
    except (SwapError, OSError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
