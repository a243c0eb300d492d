r"""Turns a downloaded data set with semantic maps into pictures and maps that our configs read.

    TOOL=tools/dataset_converters/segmentation.py
    python $TOOL voc --source VOCdevkit/VOC2012 --out data/voc_animals \
        --learn bird cat cow dog horse sheep
    python $TOOL deepglobe --source land-train --out data/ade_swap/deepglobe --layout official
    python $TOOL ade20k --source ADEChallengeData2016 --out data/ade_small \
        --forget wall sky --fraction 0.1

Ids in the maps follow the order of `--learn` or `--classes` (names, or a file with one a line),
else that of the publisher, from `--first-id` on. `<out>` has `<split>/{images,annotations}`,
`roles/`, checksums, a manifest and a contact sheet. `--layout official` numbers classes to learn
from 150 on and calls val `test`; with --forget it writes `<out>/forget` and `<out>/retain` with
`{images,annotations_detectron2}/{training,validation}`, where the classes of the other role are
unlabelled. `ade20k-full` and `coco-stuff` have more classes than ids: choose some.
"""

import argparse
from dataclasses import replace

from knowswap_mm.datasets.publishers import (
    Ade20k,
    Ade20kFull,
    CocoMasks,
    CocoStuff,
    ConverterCommand,
    DeepGlobe,
    MapTree,
    PetMaps,
    VocMaps,
)
from knowswap_mm.datasets.publishers.converter_command import find_roles

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
    """Converts one data set; returns whether it was written, and a summary."""
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


if __name__ == '__main__':
    command = ConverterCommand(__doc__, list(SOURCES))
    command.parser.add_argument('--first-id', type=int, help='id of the first class; 0 by default')
    command.run(convert)
