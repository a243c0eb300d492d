"""The work of ``knowswap data-detection``."""

from __future__ import annotations

import argparse
from dataclasses import replace

from knowswap_mm.datasets.publishers import (
    CocoFolder,
    CocoTree,
    CubBoxes,
    StanfordDogs,
    VocBoxes,
    select_pictures,
)
from knowswap_mm.datasets.publishers.conversion import find_roles

SOURCES = {'coco': CocoFolder, 'cub': CubBoxes, 'stanford-dogs': StanfordDogs, 'voc': VocBoxes}


def convert(args: argparse.Namespace) -> tuple[bool, str]:
    """Convert one data set; return whether it was written, and a summary."""
    source = SOURCES[args.dataset](args.source)
    pictures = source.pictures()
    found = sorted({name for picture in pictures for name in picture.class_names})
    ids = getattr(source, 'ids', None)
    roles = find_roles(args, list(ids or found))
    classes = args.learn or args.classes or list(ids or found)
    ids = ids or {name: number for number, name in enumerate(classes, 1)}
    draw = (args.per_class, args.fraction, args.seed, args.source)
    pictures = select_pictures(pictures, args.learn or args.classes, *draw)
    trees = {args.out: (pictures, classes, roles)}
    if args.layout == 'official':
        pictures = [replace(picture, split=f'{picture.split}2017') for picture in pictures]
        trees = {args.out: (pictures, classes, roles)}
        if args.forget:
            gone = set(args.forget)
            with_gone = [p for p in pictures if not gone.isdisjoint(p.class_names)]
            without = [p for p in pictures if gone.isdisjoint(p.class_names)]
            trees = {
                args.out / 'forget': (with_gone, roles['forget'], {}),
                args.out / 'retain': (without, roles['retain'], {}),
            }
    written = [
        CocoTree(root, args.source).write(
            chosen, {name: ids[name] for name in names}, args.request, args.way, lists
        )
        for root, (chosen, names, lists) in trees.items()
    ]
    return any(written), f'{len(pictures)} pictures, {len(classes)} classes'
