"""The work of ``knowswap data-segmentation``."""

from __future__ import annotations

import argparse
from dataclasses import replace

from knowswap_mm.datasets.publishers import (
    Ade20k,
    Ade20kFull,
    CocoMasks,
    CocoStuff,
    DeepGlobe,
    MapTree,
    PetMaps,
    VocMaps,
)
from knowswap_mm.datasets.publishers.conversion import find_roles

SOURCES = {
    'ade20k': Ade20k,
    'ade20k-full': Ade20kFull,
    'coco': CocoMasks,
    'coco-stuff': CocoStuff,
    'deepglobe': DeepGlobe,
    'oxford-pet': PetMaps,
    'voc': VocMaps,
}
#: First id of the classes to learn in the official layout: behind those of ADE20K.
OFFICIAL_FIRST = 150


def convert(args: argparse.Namespace) -> tuple[bool, str]:
    """Convert one data set; return whether it was written, and a summary."""
    source = SOURCES[args.dataset](args.source)
    pictures = source.pictures()
    roles = find_roles(args, source.classes)
    classes = args.learn or args.classes or list(source.classes)
    first = args.first_id
    trees = {args.out: (classes, roles)}
    options = {}
    if args.layout == 'official':
        names = dict(train='train', val='test')
        if args.forget:
            names = dict(train='training', val='validation')
            options = dict(folders=('images/{}', 'annotations_detectron2/{}'))
            trees = {args.out / role: (members, {}) for role, members in roles.items()}
        elif first is None:
            first = OFFICIAL_FIRST
        pictures = [replace(picture, split=names[picture.split]) for picture in pictures]
    asked = args.learn or [*(args.classes or ()), *(args.forget or ())]
    ids = {name: (first or 0) + number for number, name in enumerate(classes)}
    written = [
        MapTree(root, args.source, **options).write(
            pictures,
            source.classes,
            {name: ids[name] for name in members},
            args.request,
            args.way,
            lists,
            [name for name in asked if name in members],
            per_class=args.per_class,
            fraction=args.fraction,
            seed=args.seed,
        )
        for root, (members, lists) in trees.items()
    ]
    return any(written), f'{len(classes)} classes'
