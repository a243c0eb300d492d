"""The work of ``knowswap data-classification``."""

from __future__ import annotations

import argparse
from dataclasses import replace

from knowswap_mm.datasets.publishers import (
    ClassFolders,
    Cub,
    ImageNet,
    OxfordPet,
    PictureTree,
    select_pictures,
)
from knowswap_mm.datasets.publishers.conversion import find_roles

SOURCES = {
    'class-folders': lambda args: ClassFolders(args.source, args.val_share, args.seed),
    'cub': lambda args: Cub(args.source),
    'imagenet': lambda args: ImageNet(args.source),
    'oxford-pet': lambda args: OxfordPet(args.source),
}


def convert(args: argparse.Namespace) -> tuple[bool, str]:
    """Convert one data set; return whether it was written, and a summary."""
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
