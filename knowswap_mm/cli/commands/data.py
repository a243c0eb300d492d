"""``knowswap data``: a sub-command a task."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from knowswap_mm.cli.main import Command, add_commands

#: What each task reads: the keys of ``SOURCES`` of the conversion, which takes long to import.
DATASETS = dict(
    classification=('class-folders', 'csv', 'cub', 'grocery', 'imagenet', 'oxford-pet'),
    detection=('coco', 'coco-json', 'cub', 'stanford-dogs', 'voc'),
    segmentation=(
        'ade20k', 'ade20k-full', 'camvid', 'coco', 'coco-stuff', 'deepglobe', 'masks', 'oxford-pet',
        'voc',
    ),
)  # fmt: skip


#: Options of single tasks.
_OPTIONS: dict[str, dict[str, dict[str, Any]]] = dict(
    classification={
        '--val-share': dict(type=float, default=0.2, help='where the publisher has no splits'),
        '--size': dict(type=int, help='write the square in the middle, with so many pixels a side'),
    },
    detection={
        '--images': dict(type=Path, help='of coco-json, where they are not beside the json')
    },
    segmentation={'--first-id': dict(type=int, help='id of the first class; 0 by default')},
)


def _add_arguments(parser: argparse.ArgumentParser, task: str) -> None:
    add = parser.add_argument
    add('dataset', choices=DATASETS[task], help='whose layout the source has')
    add('--source', type=Path, required=True, help='the unpacked download')
    add('--out', type=Path, required=True, help='folder to write')
    add('--classes', nargs='+', help='classes to take; all by default')
    add('--learn', nargs='+', help='classes to take, and to list as learn')
    add('--forget', nargs='+', help='classes to list as forget; the others: retain')
    add('--per-class', type=int, help='training images of a class at most')
    add('--fraction', type=float, default=1.0, help='share of the training images')
    add('--seed', type=int, default=0, help='of what is drawn by chance')
    add('--copy', action='store_true', help='copy images instead of linking them')
    add(
        '--layout',
        choices=['one-tree', 'official'],
        default='one-tree',
        help='one folder with lists of classes, or folders named as the official code does',
    )
    for option, settings in _OPTIONS.get(task, {}).items():
        add(option, **settings)
    parser.set_defaults(task=task)


def run(args: argparse.Namespace) -> None:
    """Convert and say what was written."""
    from knowswap_mm.data_tools.conversion import run_conversion

    if args.words[:1] == [args.task]:  # a manifest keeps what stands after it, as ever
        del args.words[0]
    run_conversion(args, args.task)


def _task(task: str, help: str, text: str, *examples: str) -> Command:
    add = partial(_add_arguments, task=task)
    return Command(help, tuple(f'knowswap data {task} {e}' for e in examples), add, run, text=text)


TASKS = dict(
    classification=_task(
        'classification',
        'Turn a downloaded data set into class folders that configs read.',
        """
`imagenet` reads train/<wnid>/ and val/, `class-folders` <source>/<split>/<class>/ (the official
<k>_<wnid> folders) and <source>/<class>/ (RESISC45, PlantVillage; a share of each class becomes
val), `csv` a file of lines "image,label" (and a split, if there is one), `grocery` the repository
of the Grocery Store Dataset (its val joins train). Lists are names or a file with one a line.
Images are checked, then linked, or with --size cut to a square and scaled. `<out>` has class
folders by split, `splits/`, `classes.txt`, `roles/`, checksums, a
manifest and a contact sheet. `--layout official` calls val `test`; with --forget it writes
`<out>/forget` and `<out>/retain`, with folders named <number>_<class>.
""",
        'cub --source CUB_200_2011 --out data/cub --learn learn.txt',
        'oxford-pet --source oxford-iiit-pet --out data/pet',
        'imagenet --source in1k --out in100 --classes my100.txt',
        'csv --source photos.csv --out data/mine',
    ),
    detection=_task(
        'detection',
        'Turn a downloaded data set with boxes into COCO format.',
        """
Lists are names or a file with one a line. COCO's categories keep their ids, others are numbered
from 1 in the order of `--learn` or `--classes`. `<out>` has images by split,
`annotations/instances_<split>.json`, `roles/`, checksums, a manifest and a contact sheet, on which
boxes are drawn. `--layout official` calls the splits `train2017` and `val2017`; with --forget it
writes `<out>/forget` (the images with a class to forget, and its boxes alone) and `<out>/retain`
(the images without).
`coco-json` reads any COCO json with images wherever they lie, and its siblings of val and test;
without one, a fifth of the images becomes val.
`voc` reads Pascal VOC xml: `Annotations`, `JPEGImages` and `ImageSets/Main`, or xml beside images.
""",
        'cub --source CUB_200_2011 --out data/cub --learn learn.txt',
        'coco --source coco --out coco_small --forget cat --fraction 0.1',
        'coco-json --source labels.json --images photos --out data/mine',
        'voc --source VOCdevkit/VOC2012 --out data/voc --forget cat dog',
    ),
    segmentation=_task(
        'segmentation',
        'Turn a downloaded data set with semantic maps into a tree that configs read.',
        """
Ids in the maps follow the order of `--learn` or `--classes` (names, or a file with one a line),
else that of the publisher, from `--first-id` on. `<out>` has `<split>/{images,annotations}`,
`classes.txt` in the order of the ids, `roles/`, checksums, a manifest and a contact sheet, on which
the masks are drawn.
`--layout official` numbers classes to learn from 150 on and calls val `test`; with --forget it
writes `<out>/forget` and `<out>/retain` with
`{images,annotations_detectron2}/{training,validation}`, where the classes of the other role are
unlabelled. `masks` reads `images` and `annotations` (or `masks`, `labels`) with a `classes.txt`,
with splits above or below them; `voc` the publisher's folder. `ade20k-full` and `coco-stuff` have
more classes than ids: choose some.
""",
        'voc --source VOCdevkit/VOC2012 --out data/voc --learn bird cat',
        'ade20k --source ADEChallengeData2016 --out ade --forget sky',
        'masks --source my_masks --out data/mine',
    ),
)
COMMAND = Command(
    help='Turn a downloaded data set into files that configs read, for one of the three tasks.',
    examples=tuple(command.examples[0] for command in TASKS.values()),
    add_arguments=lambda parser: add_commands(parser, TASKS, required=True),
    run=run,
    order=120,
)
main = COMMAND.main
