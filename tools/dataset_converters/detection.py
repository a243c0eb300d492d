r"""Turns a downloaded data set with boxes into COCO format, as a set of classes to learn.

    TOOL=tools/dataset_converters/detection.py
    python $TOOL cub --source CUB_200_2011 --out data/coco_swap/cub --learn learn.txt
    python $TOOL stanford-dogs --source dogs --out data/coco_swap/dogs --learn n02085620-Chihuahua

`--learn` takes names or a file with one a line; categories are numbered in that order. `<out>` has
pictures by split, `annotations/instances_<split>.json`, a manifest and a contact sheet.
"""

import argparse
import sys
import time
from pathlib import Path

from knowswap_mm.datasets.class_names import read_class_names
from knowswap_mm.datasets.publishers import (
    CocoTree,
    CubBoxes,
    Picture,
    SourceError,
    StanfordDogs,
    select_pictures,
)
from knowswap_mm.errors import ConfigError

SOURCES = {'cub': CubBoxes, 'stanford-dogs': StanfordDogs}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', choices=sorted(SOURCES))
    parser.add_argument('--source', type=Path, required=True, help='the unpacked download')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--learn', nargs='+', help='classes to take; all by default')
    parser.add_argument('--per-class', type=int, help='training pictures of a class at most')
    parser.add_argument('--fraction', type=float, default=1.0, help='of the training pictures')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--copy', action='store_true', help='copy pictures instead of linking them')
    return parser.parse_args()


def main() -> None:
    """Converts one data set."""
    args = parse_args()
    started = time.perf_counter()
    try:
        learn = args.learn
        if learn and len(learn) == 1 and Path(learn[0]).is_file():
            learn = read_class_names('--learn', learn[0])
        boxed = SOURCES[args.dataset](args.source).pictures()
        by_path = {picture.path: picture for picture in boxed}
        plain = [Picture(p.split, p.objects[0][0], p.path) for p in boxed]
        chosen = select_pictures(
            plain, learn, args.per_class, args.fraction, args.seed, args.source
        )
        pictures = [by_path[picture.path] for picture in chosen]
        classes = learn or sorted({picture.class_name for picture in chosen})
        request = dict(dataset=args.dataset, seed=args.seed, command=sys.argv[1:])
        way = 'copy' if args.copy else 'link'
        written = CocoTree(args.out, args.source).write(pictures, classes, request, way)
    except (SourceError, ConfigError, ValueError, FileExistsError) as error:
        sys.exit(str(error))
    state = 'written' if written else 'is there already'
    seconds = time.perf_counter() - started
    print(
        f'{args.out}: {state}, {len(pictures)} pictures, {len(classes)} classes ({seconds:.1f} s)'
    )


if __name__ == '__main__':
    main()
