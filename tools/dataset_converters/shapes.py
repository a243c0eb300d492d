"""Draws the procedural shapes as an ImageFolder tree; needs no source files.

``meta/<split>.txt`` lists all classes and ``meta/old7_<split>.txt`` the seven that the shipped
weights know before a swap.
"""

import argparse
import sys
import time

from knowswap_mm.data_tools.generators.shapes import SHAPE_CLASSES, make_shape_images
from knowswap_mm.data_tools.generators.trees import write_image_folder
from knowswap_mm.errors import SwapError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='procedural shapes to an ImageFolder tree')
    parser.add_argument('--out', default='data/shapes', help='folder to write')
    parser.add_argument('--per-class', type=int, default=3000, help='training images of a class')
    parser.add_argument(
        '--val-per-class',
        type=int,
        default=500,
        help='images of a class in val, and in test; never more than --per-class',
    )
    parser.add_argument(
        '--classes',
        type=int,
        default=10,
        help=f'number of classes, from the first of {", ".join(SHAPE_CLASSES)}',
    )
    parser.add_argument(
        '--old',
        type=int,
        default=7,
        help='number of classes, from the first, that the lists meta/old<N>_<split>.txt hold',
    )
    parser.add_argument('--size', type=int, default=28, help='height and width in pixels')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def write(args: argparse.Namespace) -> None:
    """Writes the data set and says so."""
    if args.seed < 0:
        raise ValueError(f'--seed must be 0 or more, not {args.seed}.')
    start = time.perf_counter()
    if not 1 <= args.old <= args.classes <= len(SHAPE_CLASSES):
        raise ValueError(
            f'--old and --classes must satisfy 1 <= old <= classes <= '
            f'{len(SHAPE_CLASSES)}, not {args.old} and {args.classes}.'
        )
    classes = SHAPE_CLASSES[: args.classes]
    held = min(args.val_per_class, args.per_class)

    def draw(stream: int, count: int):
        # Three seeds that no other --seed shares.
        return lambda: make_shape_images(count, args.size, 3 * args.seed + stream, classes)

    request = dict(
        generator='shapes',
        version=1,
        size=args.size,
        seed=args.seed,
        train_per_class=args.per_class,
        val_per_class=held,
    )
    written = write_image_folder(
        args.out,
        classes,
        dict(train=draw(0, args.per_class), val=draw(1, held), test=draw(2, held)),
        request,
        subsets={f'old{args.old}': classes[: args.old]},
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
