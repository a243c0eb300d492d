"""Detectors: images with boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.data_tools.label_trees import CocoTree
from knowswap_mm.data_tools.publishers import CocoFile, VocBoxes
from knowswap_mm.data_tools.publishers.coco_file import coco_files
from knowswap_mm.datasets.host_config import type_of
from knowswap_mm.own.task import Format, OwnData, OwnTask
from knowswap_mm.roles import FORGET, RETAIN


class OwnDetection(OwnTask):
    """Detectors of mmdet."""

    scope, noun = 'mmdet', 'detector'
    learns_from = 'a COCO json (--images names the folder of its images), or a folder of VOC xml'
    view = 'knowswap_mm.CocoRoleView'
    drawer = 'knowswap_mm.DetectionDrawer'
    batch_size = (4, 16)
    easier = 'drop_boxes'

    def formats(self) -> Sequence[Format]:
        """A COCO json or a folder with some; xml of Pascal VOC."""
        return (
            Format('COCO json', _is_coco, CocoFile),
            Format('VOC xml', lambda p: p.is_dir() and any(p.rglob('*.xml')), VocBoxes),
        )

    def class_names(self, reader: Any, images: Sequence[Any]) -> list[str]:
        """In the order of the json."""
        return list(getattr(reader, 'ids', ()) or super().class_names(reader, images))

    def write(self, data: OwnData, folder: Path) -> dict[str, dict[str, Any]]:
        """``<folder>/{train,test}/<image>`` with ``annotations/instances_{train,test}.json``."""
        ids = {name: number for number, name in enumerate(data.classes, 1)}
        CocoTree(folder, data.root).write(data.images, ids, dict(dataset='own'))
        return {
            split: dict(
                type='CocoDataset',
                data_root=str(folder),
                ann_file=f'annotations/instances_{split}.json',
                data_prefix=dict(img=f'{split}/'),
            )
            for split in sorted({each.split for each in data.images})
        }

    def model_options(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """One size for all roles of a batch, and losses in full precision."""
        return dict(fuse='always', fp32_losses=True)

    def role_options(self, training: bool) -> dict[str, dict[str, Any]]:
        """When it is evaluated, boxes of other roles do not count."""
        options = super().role_options(training)
        if not training:
            options[FORGET] = options[RETAIN] = dict(mixed='drop_boxes')
        return options

    def train_pipeline(self, test_pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Boxes are loaded behind the image, and scaled with it."""
        steps = [dict(s) for s in test_pipeline if type_of(s) != 'LoadAnnotations']
        place = next((i for i, s in enumerate(steps) if type_of(s) == 'LoadImageFromFile'), -1)
        steps.insert(place + 1, dict(type='LoadAnnotations', with_bbox=True))
        return [dict(type=s['type']) if type_of(s) == 'PackDetInputs' else s for s in steps]

    def evaluator(self) -> dict[str, Any]:
        """Box AP of each role and class."""
        metric = dict(type='knowswap_mm.CocoRoleMetric', metric='bbox', classwise=True)
        return dict(
            type='knowswap_mm.RoleMetric', metric=metric, primary='coco/bbox_mAP', scale=1.0
        )

    def answer(self, sample: Any, classes: Sequence[str], count: int, score: float) -> list[dict]:
        """The most certain objects, with boxes as x, y, width, height."""
        found = sample.pred_instances
        order = found.scores.argsort(descending=True)[:count].tolist()
        told = []
        for i in order:
            value = float(found.scores[i])
            if value >= score:
                left, top, right, bottom = found.bboxes[i].tolist()
                box = [round(each, 1) for each in (left, top, right - left, bottom - top)]
                told.append(
                    dict(label=classes[int(found.labels[i])], score=round(value, 4), box=box)
                )
        return told


def _is_coco(path: Path) -> bool:
    return path.suffix.lower() == '.json' if path.is_file() else bool(coco_files(path))
