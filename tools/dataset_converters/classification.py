r"""Turns a downloaded data set into class folders that our configs read.

    TOOL=tools/dataset_converters/classification.py
    python $TOOL cub --source CUB_200_2011 --out data/cub --learn 001.Black_footed_Albatross ...
    python $TOOL oxford-pet --source oxford-iiit-pet --out data/pet --learn learn.txt
    python $TOOL class-folders --source imagenet --out data/imagenet100 \
        --classes my100.txt --forget my5.txt

`class-folders` reads <source>/<split>/<class>/ (ImageNet, the official <k>_<wnid> folders) and
<source>/<class>/ (RESISC45, PlantVillage; a share of each class becomes val). Lists are names or a
file with one a line. Pictures are checked, then linked. `<out>` has class folders by split,
`splits/`, `classes.txt`, `roles/`, a manifest and a contact sheet.
"""

import argparse
import sys
import time
from pathlib import Path

from knowswap_mm.datasets.class_names import read_class_names
from knowswap_mm.datasets.publishers import (
    ClassFolders,
    Cub,
    OxfordPet,
    PictureTree,
    SourceError,
    select_pictures,
)
from knowswap_mm.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', choices=['class-folders', 'cub', 'oxford-pet'])
    parser.add_argument('--source', type=Path, required=True, help='the unpacked download')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--classes', nargs='+', help='classes to take; all by default')
    parser.add_argument('--learn', nargs='+', help='classes to take, and to list as learn')
    parser.add_argument('--forget', nargs='+', help='classes to list as forget; others: retain')
    parser.add_argument('--per-class', type=int, help='training pictures of a class at most')
    parser.add_argument('--fraction', type=float, default=1.0, help='of the training pictures')
    parser.add_argument('--val-share', type=float, default=0.2, help='where there are no splits')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--copy', action='store_true', help='copy pictures instead of linking them')
    return parser.parse_args()


def names_of(option: str, given: list[str] | None) -> list[str] | None:
    """A list of names, or the lines of a file."""
    if given and len(given) == 1 and Path(given[0]).is_file():
        return read_class_names(option, given[0])
    return given


def main() -> None:
    """Converts one data set."""
    args = parse_args()
    started = time.perf_counter()
    sources = {
        'class-folders': lambda: ClassFolders(args.source, args.val_share, args.seed),
        'cub': lambda: Cub(args.source),
        'oxford-pet': lambda: OxfordPet(args.source),
    }
    try:
        lists = {k: names_of(f'--{k}', getattr(args, k)) for k in ('classes', 'learn', 'forget')}
        if lists['learn'] and (lists['classes'] or lists['forget']):
            sys.exit('--learn lists a set of new classes. Fix: leave out --classes and --forget.')
        pictures = select_pictures(
            sources[args.dataset]().pictures(),
            lists['learn'] or lists['classes'],
            args.per_class,
            args.fraction,
            args.seed,
            args.source,
        )
        classes = sorted({picture.class_name for picture in pictures})
        roles = dict(learn=lists['learn']) if lists['learn'] else {}
        if lists['forget']:
            if unknown := [name for name in lists['forget'] if name not in set(classes)]:
                raise SourceError(args.source, [f'--forget: no class {name!r}' for name in unknown])
            forgotten = set(lists['forget'])
            kept = [name for name in classes if name not in forgotten]
            roles = dict(forget=lists['forget'], retain=kept)
        request = dict(dataset=args.dataset, seed=args.seed, command=sys.argv[1:])
        way = 'copy' if args.copy else 'link'
        written = PictureTree(args.out, args.source).write(pictures, request, way, roles)
    except (SourceError, ConfigError, ValueError, FileExistsError) as error:
        sys.exit(str(error))
    state = 'written' if written else 'is there already'
    seconds = time.perf_counter() - started
    print(
        f'{args.out}: {state}, {len(pictures)} pictures, {len(classes)} classes ({seconds:.1f} s)'
    )


if __name__ == '__main__':
    main()
