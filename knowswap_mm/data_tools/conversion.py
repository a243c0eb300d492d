"""The work of ``knowswap data``: from a publisher's layout to one that configs read."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from knowswap_mm.checks import check_number, check_whole
from knowswap_mm.data_tools.generators.trees import load_manifest, read_whole
from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.label_trees import CocoTree, MapTree
from knowswap_mm.data_tools.publishers import SOURCES
from knowswap_mm.data_tools.selection import match_names, select_images
from knowswap_mm.data_tools.trees import ImageTree
from knowswap_mm.datasets.classes import read_class_names
from knowswap_mm.datasets.images import pixel_limit
from knowswap_mm.errors import ConfigError, SwapError


def run_conversion(args: argparse.Namespace, task: str) -> None:
    """Convert, say what was written, and end the process with a message if something is wrong."""
    started = time.perf_counter()
    try:
        pixel_limit()
        for name in ('classes', 'learn', 'forget'):
            setattr(args, name, _names(f'--{name}', getattr(args, name)))
        if args.learn and (args.classes or args.forget):
            fix = 'leave out --classes and --forget'
            raise ConfigError('--learn', args.learn, 'lists a set of new classes', fix)
        check_whole('--seed', args.seed, 0)
        if not args.source.exists():
            raise ConfigError('--source', str(args.source), 'is not there', 'fix the path')
        source, out = (Path(os.path.realpath(each)) for each in (args.source, args.out))
        if out in (source, *source.parents):  # an older data set of ours there would be replaced
            raise ConfigError('--out', str(args.out), 'holds the source', 'give a new folder')
        args.way = 'copy' if args.copy else 'link'
        args.request = dict(dataset=args.dataset, seed=args.seed, command=args.words)
        before = _made_by(args.out, task)
        written, summary = _CONVERSIONS[task](args)
    except (SwapError, ValueError, OSError) as error:
        sys.exit(str(error))
    state = 'written' if written else 'is there already'
    print(f'{args.out}: {state}, {summary} ({time.perf_counter() - started:.1f} s)')
    if written and before:
        print(f'It took the place of what {before} had made there.')
    if written and task != 'classification':
        sheets = sorted(args.out.glob('contact_sheet.jpg')) + sorted(args.out.glob('*/contact_*'))
        print(f'Do labels lie on their objects? Look at {", ".join(map(str, sheets))}')


def _made_by(out: Path, task: str) -> str | None:
    """What made the data set in a folder, or a part of it for each role; None if there is none."""
    for folder in (out, *sorted(out.glob('*/'))):
        if load_manifest(folder) is not None:
            # A manifest does not name the task, but the data of another one is no whole tree of it.
            found = read_whole(folder, _TREES[task].expect) or dict(request={})
            words = found['request'].get('command')
            known = isinstance(words, list) and all(isinstance(each, str) for each in words)
            return f'`knowswap data {task} {shlex.join(words)}`' if known else 'an earlier command'
    return None


def _names(option: str, given: list[str] | None) -> list[str] | None:
    """A list of names, or the lines of a file."""
    is_file = given and len(given) == 1 and Path(given[0]).is_file()
    return read_class_names(option, given[0] if is_file else given)


def _find_roles(args: argparse.Namespace, known: Sequence[str]) -> dict[str, list[str]]:
    """Classes of each role; the names in the options become those of the data set."""
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


def _select(args: argparse.Namespace, images: list[Any]) -> list[Any]:
    wanted = args.learn or args.classes
    return select_images(images, wanted, args.per_class, args.fraction, args.seed, args.source)


def _classification(args: argparse.Namespace) -> tuple[bool, str]:
    if args.size is not None:
        check_number('--size', args.size, 'in [1, 4096]', 224)
    options = (args.val_share, args.seed) if args.dataset in ('class-folders', 'csv') else ()
    source = SOURCES['classification'][args.dataset](args.source, *options)
    images = source.images()
    roles = _find_roles(args, sorted({image.class_name for image in images}))
    images = _select(args, images)
    classes = args.learn or args.classes or sorted({image.class_name for image in images})
    if args.layout == 'official':
        names = dict(train='train', val='test', test='test')
        images = [replace(image, split=names[image.split]) for image in images]
    trees = {args.out: (images, roles)}
    if args.layout == 'official' and args.forget:
        number = {name: f'{i}_{name}' for i, name in enumerate(classes)}
        trees = {
            args.out / role: (
                [
                    replace(image, class_name=number[image.class_name])
                    for image in images
                    if image.class_name in set(members)
                ],
                {},
            )
            for role, members in roles.items()
        }
    written = [
        ImageTree(root, source.root, args.size).write(chosen, args.request, args.way, lists)
        for root, (chosen, lists) in trees.items()
    ]
    return any(written), f'{len(images)} images, {len(classes)} classes'


def _detection(args: argparse.Namespace) -> tuple[bool, str]:
    if args.images and args.dataset != 'coco-json':
        problem = f'is for coco-json; {args.dataset} has its images in the source'
        raise ConfigError('--images', str(args.images), problem, 'leave it out')
    options = dict(seed=args.seed, images=args.images) if args.dataset == 'coco-json' else {}
    source = SOURCES['detection'][args.dataset](args.source, **options)
    images = source.images()
    ids = getattr(source, 'ids', None)
    known = list(ids or sorted({name for image in images for name in image.class_names}))
    roles = _find_roles(args, known)
    classes = args.learn or args.classes or known
    ids = ids or {name: number for number, name in enumerate(classes, 1)}
    images = _select(args, images)
    if args.layout == 'official':
        images = [replace(image, split=f'{image.split}2017') for image in images]
    trees = {args.out: (images, classes, roles)}
    if args.layout == 'official' and args.forget:
        gone = set(args.forget)
        with_gone = [image for image in images if not gone.isdisjoint(image.class_names)]
        without = [image for image in images if gone.isdisjoint(image.class_names)]
        trees = {
            args.out / 'forget': (with_gone, roles['forget'], {}),
            args.out / 'retain': (without, roles['retain'], {}),
        }
    written = [
        CocoTree(root, source.root).write(
            chosen, {name: ids[name] for name in names}, args.request, args.way, lists
        )
        for root, (chosen, names, lists) in trees.items()
    ]
    return any(written), f'{len(images)} images, {len(classes)} classes'


#: First id of the classes to learn in the official layout: behind those of ADE20K.
OFFICIAL_FIRST = 150


def _segmentation(args: argparse.Namespace) -> tuple[bool, str]:
    source = SOURCES['segmentation'][args.dataset](args.source)
    images = source.images()
    roles = _find_roles(args, source.classes)
    classes = args.learn or args.classes or list(source.classes)
    first = args.first_id
    trees = {args.out: (classes, roles)}
    options = {}
    if args.layout == 'official':
        names = dict(train='train', val='test', test='test')
        if args.forget:
            names = dict(train='training', val='validation', test='validation')
            options = dict(folders=('images/{}', 'annotations_detectron2/{}'))
            trees = {args.out / role: (members, {}) for role, members in roles.items()}
        elif first is None:
            first = OFFICIAL_FIRST
        images = [replace(image, split=names[image.split]) for image in images]
    asked = args.learn or [*(args.classes or ()), *(args.forget or ())]
    ids = {name: (first or 0) + number for number, name in enumerate(classes)}
    written = [
        MapTree(root, source.root, **options).write(
            images,
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


_TREES = dict(classification=ImageTree, detection=CocoTree, segmentation=MapTree)
_CONVERSIONS = dict(
    classification=_classification, detection=_detection, segmentation=_segmentation
)
