r"""Turns a downloaded data set with boxes into COCO format.

    TOOL=tools/dataset_converters/detection.py
    python $TOOL cub --source CUB_200_2011 --out data/coco_swap/cub --learn learn.txt
    python $TOOL stanford-dogs --source dogs --out data/coco_swap/dogs --learn n02085620-Chihuahua
    python $TOOL coco --source coco --out data/coco_small --forget cat dog --fraction 0.1

Lists are names or a file with one a line. COCO's categories keep their ids, others are numbered
from 1 in the order of `--learn` or `--classes`. `<out>` has pictures by split,
`annotations/instances_<split>.json`, `roles/`, checksums, a manifest and a contact sheet. `--layout
official` calls the splits `train2017` and `val2017`; with --forget it writes `<out>/forget` (the
pictures with a class to forget, and its boxes alone) and `<out>/retain` (the pictures without).
"""

import argparse
from dataclasses import replace

from knowswap_mm.datasets.publishers import (
    CocoFolder,
    CocoTree,
    ConverterCommand,
    CubBoxes,
    StanfordDogs,
    select_pictures,
)
from knowswap_mm.datasets.publishers.converter_command import find_roles

SOURCES = {'coco': CocoFolder, 'cub': CubBoxes, 'stanford-dogs': StanfordDogs}


def convert(args: argparse.Namespace) -> tuple[bool, str]:
    """Converts one data set; returns whether it was written, and a summary."""
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


if __name__ == '__main__':
    ConverterCommand(__doc__, list(SOURCES)).run(convert)
