"""The work of ``knowswap data-segmentation``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from knowswap_mm.checks import check_whole
from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.publishers import (
    Ade20k,
    Ade20kFull,
    ClassFolders,
    CocoFolder,
    CocoMasks,
    CocoStuff,
    CocoTree,
    Cub,
    CubBoxes,
    DeepGlobe,
    ImageNet,
    MapTree,
    OxfordPet,
    PetMaps,
    PictureTree,
    StanfordDogs,
    VocBoxes,
    VocMaps,
    select_pictures,
)
from knowswap_mm.data_tools.selection import match_names
from knowswap_mm.datasets.classes import read_class_names
from knowswap_mm.datasets.images import picture_limit
from knowswap_mm.errors import ConfigError, SwapError


def run_conversion(
    args: argparse.Namespace, convert: Callable[[argparse.Namespace], tuple[bool, str]]
) -> None:
    """Convert, and end the process with a message if something is wrong.

    Args:
        args (argparse.Namespace): The options.
        convert (Callable): Converts as the options say and returns whether anything was written,
            and a summary. Its options ``classes``, ``learn`` and ``forget`` are lists or None,
            ``way`` is how images are placed, ``request`` what a manifest keeps.
    """
    started = time.perf_counter()
    try:
        picture_limit()
        for name in ('classes', 'learn', 'forget'):
            setattr(args, name, _names(f'--{name}', getattr(args, name)))
        if args.learn and (args.classes or args.forget):
            fix = 'leave out --classes and --forget'
            raise ConfigError('--learn', args.learn, 'lists a set of new classes', fix)
        check_whole('--seed', args.seed, 0)
        args.way = 'copy' if args.copy else 'link'
        args.request = dict(dataset=args.dataset, seed=args.seed, command=args.words)
        written, summary = convert(args)
    except (SwapError, ValueError, OSError) as error:
        sys.exit(str(error))
    state = 'written' if written else 'is there already'
    print(f'{args.out}: {state}, {summary} ({time.perf_counter() - started:.1f} s)')


def find_roles(args: argparse.Namespace, known: Sequence[str]) -> dict[str, list[str]]:
    """Classes of each role.

    Args:
        args (argparse.Namespace): The options; their names are set to those of the data set.
        known (Sequence[str]): Classes of the data set, in its order.

    Returns:
        dict[str, list[str]]: ``learn``, or ``forget`` and ``retain``, or nothing.

    Raises:
        SourceError: If a class is unknown.
    """
    options: dict[str, Any] = vars(args)
    for name in ('classes', 'learn', 'forget'):
        if options[name]:
            options[name] = match_names(options[name], known, args.source, f'--{name}')
    if args.learn:
        return dict(learn=args.learn)
    if not args.forget:
        return {}
    kept = [name for name in args.classes or known if name not in set(args.forget)]
    if not kept:
        raise SourceError(args.source, ['--forget names all classes. Fix: leave some to retain'])
    return dict(forget=args.forget, retain=kept)


def _names(option: str, given: list[str] | None) -> list[str] | None:
    """A list of names, or the lines of a file."""
    if given and len(given) == 1 and Path(given[0]).is_file():
        return read_class_names(option, given[0])
    return read_class_names(option, given)


CLASSIFICATION_SOURCES = {
    'class-folders': lambda args: ClassFolders(args.source, args.val_share, args.seed),
    'cub': lambda args: Cub(args.source),
    'imagenet': lambda args: ImageNet(args.source),
    'oxford-pet': lambda args: OxfordPet(args.source),
}


def convert_classification(args: argparse.Namespace) -> tuple[bool, str]:
    """Convert one data set; return whether it was written, and a summary."""
    pictures = CLASSIFICATION_SOURCES[args.dataset](args).pictures()
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
    return any(written), f'{len(pictures)} images, {len(classes)} classes'


DETECTION_SOURCES = {
    'coco': CocoFolder,
    'cub': CubBoxes,
    'stanford-dogs': StanfordDogs,
    'voc': VocBoxes,
}


def convert_detection(args: argparse.Namespace) -> tuple[bool, str]:
    """Convert one data set; return whether it was written, and a summary."""
    source = DETECTION_SOURCES[args.dataset](args.source)
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
    return any(written), f'{len(pictures)} images, {len(classes)} classes'


SEGMENTATION_SOURCES = {
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


def convert_segmentation(args: argparse.Namespace) -> tuple[bool, str]:
    """Convert one data set; return whether it was written, and a summary."""
    source = SEGMENTATION_SOURCES[args.dataset](args.source)
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
