r"""Turns a downloaded data set into class folders that our configs read.

    TOOL=tools/dataset_converters/classification.py
    python $TOOL cub --source CUB_200_2011 --out data/cub --learn 001.Black_footed_Albatross ...
    python $TOOL oxford-pet --source oxford-iiit-pet --out data/pet --learn learn.txt
    python $TOOL imagenet --source imagenet --out data/imagenet100 \
        --classes my100.txt --forget my5.txt

`imagenet` reads train/<wnid>/ and val/, `class-folders` <source>/<split>/<class>/ (the official
<k>_<wnid> folders) and <source>/<class>/ (RESISC45, PlantVillage; a share of each class becomes
val). Lists are names or a file with one a line. Pictures are checked, then linked. `<out>` has
class folders by split, `splits/`, `classes.txt`, `roles/`, checksums, a manifest and a contact
sheet. `--layout official` calls val `test`; with --forget it writes `<out>/forget` and
`<out>/retain`, with folders named <number>_<class>.
"""

import argparse
from dataclasses import replace

from knowswap_mm.datasets.publishers import (
    ClassFolders,
    ConverterCommand,
    Cub,
    ImageNet,
    OxfordPet,
    PictureTree,
    select_pictures,
)
from knowswap_mm.datasets.publishers.converter_command import find_roles

SOURCES = {
    'class-folders': lambda args: ClassFolders(args.source, args.val_share, args.seed),
    'cub': lambda args: Cub(args.source),
    'imagenet': lambda args: ImageNet(args.source),
    'oxford-pet': lambda args: OxfordPet(args.source),
}


def convert(args: argparse.Namespace) -> tuple[bool, str]:
    """Converts one data set; returns whether it was written, and a summary."""
    pictures = SOURCES[args.dataset](args).pictures()
    roles = find_roles(args, sorted({picture.class_name for picture in pictures}))
    wanted = args.learn or args.classes
    draw = (args.per_class, args.fraction, args.seed, args.source)
    pictures = select_pictures(pictures, wanted, *draw)
    classes = wanted or sorted({picture.class_name for picture in pictures})
    trees = {args.out: (pictures, roles)}
    if args.layout == 'official':
        names = dict(train='train', val='test', test='test')
        pictures = [replace(picture, split=names[picture.split]) for picture in pictures]
        trees = {args.out: (pictures, roles)}
        if args.forget:
            number = {name: f'{i}_{name}' for i, name in enumerate(classes)}
            trees = {
                args.out / role: (
                    [
                        replace(picture, class_name=number[picture.class_name])
                        for picture in pictures
                        if picture.class_name in set(members)
                    ],
                    {},
                )
                for role, members in roles.items()
            }
    written = [
        PictureTree(root, args.source).write(chosen, args.request, args.way, lists)
        for root, (chosen, lists) in trees.items()
    ]
    return any(written), f'{len(pictures)} pictures, {len(classes)} classes'


if __name__ == '__main__':
    command = ConverterCommand(__doc__, list(SOURCES))
    command.parser.add_argument(
        '--val-share', type=float, default=0.2, help='where the publisher has no splits'
    )
    command.run(convert)
