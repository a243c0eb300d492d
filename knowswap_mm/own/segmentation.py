"""Segmentors: images with a class a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from knowswap_mm.data_tools.images import NONE, SourceError
from knowswap_mm.data_tools.label_trees import MapTree
from knowswap_mm.data_tools.publishers import MaskFolder, VocMaps
from knowswap_mm.data_tools.publishers.mask_folder import mask_folders
from knowswap_mm.datasets.host_config import type_of
from knowswap_mm.own.task import Format, OwnData, OwnTask
from knowswap_mm.roles import ROLES

#: Names in a list of classes that stand for no class.
NO_CLASS = ('background', '_background_', 'void', 'unlabelled', 'unlabeled', 'ignore')


class OwnSegmentation(OwnTask):
    """Segmentors of mmseg."""

    scope, noun = 'mmseg', 'segmentor'
    learns_from = 'a folder with images, annotations (or masks) and classes.txt'
    view = 'knowswap_mm.SemanticRoleView'
    drawer = 'knowswap_mm.SegmentationDrawer'
    batch_size = (4, 16)

    def formats(self) -> Sequence[Format]:
        """Maps of the publisher of VOC; images and masks in folders."""
        return (
            Format('maps of VOC', _is_voc, VocMaps),
            Format('masks', lambda p: p.is_dir() and bool(mask_folders(p)), MaskFolder),
        )

    def listed(self, reader: Any) -> list[Any]:
        """Images with the classes in their maps, which are read for that."""
        found, problems = [], []
        for image in super().listed(reader):
            try:
                numbers = [int(n) for n in np.unique(image.read(image.map_path)) if n != NONE]
            except Exception as error:  # a damaged file may raise anything
                problems.append(f'{image.map_path}: {error}')
                continue
            names = tuple(reader.classes[number] for number in numbers)
            found.append(replace(image, class_names=names))
        if problems:
            raise SourceError(reader.root, problems)
        return [image for image in found if image.class_names]

    def class_names(self, reader: Any, images: Sequence[Any]) -> list[str]:
        """Those that are no background, in the order of their numbers."""
        seen = {name for image in images for name in image.class_names}
        return [n for n in reader.classes if n in seen and n.lower() not in NO_CLASS]

    def write(self, data: OwnData, folder: Path) -> dict[str, dict[str, Any]]:
        """``<folder>/{train,test}/{images,annotations}``."""
        ids = {name: number for number, name in enumerate(data.classes)}
        MapTree(folder, data.root).write(data.images, data.known, ids, dict(dataset='own'))
        return {
            split: dict(
                type='BaseSegDataset',
                data_root=str(folder),
                data_prefix=dict(img_path=f'{split}/images', seg_map_path=f'{split}/annotations'),
                img_suffix=Path(data.images[0].name or data.images[0].path.name).suffix,
                metainfo=dict(classes=list(data.classes)),
            )
            for split in sorted({each.split for each in data.images})
        }

    def model_options(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Mask transformers need their losses in full precision."""
        is_mask = 'Mask' in type_of(model.get('decode_head'))
        return dict(fp32_losses=True) if is_mask else {}

    def role_options(self, training: bool) -> dict[str, dict[str, Any]]:
        """A role trains with its own pixels alone; when it is evaluated, all keep their labels."""
        return {role: {} if training else dict(mixed='keep') for role in ROLES}

    def steps(self, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Whether the first number of a map is no class, each data set says itself."""
        return [
            {k: v for k, v in step.items() if k != 'reduce_zero_label'}
            if type_of(step) == 'LoadAnnotations'
            else dict(step)
            for step in pipeline
        ]

    def train_pipeline(self, test_pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Maps are loaded behind the image, and scaled with it."""
        steps = [dict(step) for step in test_pipeline if type_of(step) != 'LoadAnnotations']
        place = next((i for i, s in enumerate(steps) if type_of(s) == 'LoadImageFromFile'), -1)
        steps.insert(place + 1, dict(type='LoadAnnotations'))
        return steps

    def evaluator(self) -> dict[str, Any]:
        """Mean IoU of each role, and the IoU of each class."""
        metric = dict(type='knowswap_mm.SemanticRoleMetric', classwise=True)
        return dict(type='knowswap_mm.RoleMetric', metric=metric, primary='seg/mIoU', scale=100.0)

    def answer(self, sample: Any, classes: Sequence[str], count: int, score: float) -> list[dict]:
        """The classes with the most pixels, and their share of the image."""
        labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
        numbers, counts = np.unique(labels, return_counts=True)
        order = np.argsort(-counts)[:count]
        shares = ((int(numbers[i]), counts[i] / labels.size) for i in order)
        return [
            dict(label=classes[number], share=round(float(share), 4))
            for number, share in shares
            if number < len(classes)
        ]


def _is_voc(path: Path) -> bool:
    return (path / 'SegmentationClass').is_dir() and (path / 'ImageSets' / 'Segmentation').is_dir()
