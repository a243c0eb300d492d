r"""Turns a downloaded data set with semantic maps into a set of classes to learn.

    TOOL=tools/dataset_converters/segmentation.py
    python $TOOL voc --source VOCdevkit/VOC2012 --out data/voc_animals \
        --learn bird cat cow dog horse sheep
    python $TOOL deepglobe --source land-train --out data/ade_swap/deepglobe \
        --first-id 150 --val-name test
    python $TOOL oxford-pet --source oxford-iiit-pet --out data/pet --learn Abyssinian beagle

Ids in the maps follow the order of `--learn` (names, or a file with one a line). The official
layout has them from 150 on, and calls the second split `test`. `<out>` has
`<split>/{images,annotations}`, a manifest and a contact sheet.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from knowswap_mm.datasets.class_names import read_class_names
from knowswap_mm.datasets.publishers import DeepGlobe, MapTree, PetMaps, SourceError, VocMaps
from knowswap_mm.errors import ConfigError

SOURCES = {'voc': VocMaps, 'oxford-pet': PetMaps, 'deepglobe': DeepGlobe}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', choices=sorted(SOURCES))
    parser.add_argument('--source', type=Path, required=True, help='the unpacked download')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--learn', nargs='+', help='classes to take; all by default')
    parser.add_argument('--first-id', type=int, default=0, help='id of the first class')
    parser.add_argument('--val-name', default='val', help='folder of the second split')
    parser.add_argument('--copy', action='store_true', help='copy pictures instead of linking them')
    return parser.parse_args()


def main() -> None:
    """Converts one data set."""
    args = parse_args()
    started = time.perf_counter()
    try:
        source = SOURCES[args.dataset](args.source)
        names = dict(train='train', val=args.val_name)
        pictures = [replace(p, split=names[p.split]) for p in source.pictures()]
        learn = args.learn or list(source.classes)
        if len(learn) == 1 and Path(learn[0]).is_file():
            learn = read_class_names('--learn', learn[0])
        request = dict(dataset=args.dataset, command=sys.argv[1:])
        way = 'copy' if args.copy else 'link'
        tree = MapTree(args.out, args.source)
        written = tree.write(pictures, source.classes, learn, request, args.first_id, way)
    except (SourceError, ConfigError, FileExistsError) as error:
        sys.exit(str(error))
    state = 'written' if written else 'is there already'
    seconds = time.perf_counter() - started
    print(f'{args.out}: {state}, {len(learn)} classes ({seconds:.1f} s)')


if __name__ == '__main__':
    main()
