"""Classifiers: images with one class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from knowswap_mm.data_tools.publishers import ClassFolders, CsvList
from knowswap_mm.data_tools.publishers.coco_file import coco_files
from knowswap_mm.data_tools.publishers.mask_folder import mask_folders
from knowswap_mm.data_tools.trees import ImageTree
from knowswap_mm.datasets.images import is_image_name, is_junk
from knowswap_mm.own.task import Format, OwnData, OwnTask


class OwnClassification(OwnTask):
    """Classifiers of mmpretrain."""

    scope, noun = 'mmpretrain', 'classifier'
    learns_from = 'a folder with a folder for each class, or a csv file of lines "image,label"'
    view = 'knowswap_mm.ClassificationRoleView'
    drawer = 'knowswap_mm.ClassificationDrawer'
    batch_size = (16, 128)
    test_options, one_class = {}, True

    def formats(self) -> Sequence[Format]:
        """Folders of classes, with splits above them or without; csv."""
        return (
            Format('csv file', lambda p: p.suffix.lower() == '.csv' and p.is_file(), CsvList),
            Format('folders of classes', _is_tree, ClassFolders),
        )

    def listed(self, reader: Any) -> list[Any]:
        """Images of folders below that of a class get the folders into their names."""
        found = super().listed(reader)
        places = {}
        for image in found:
            key = image.split, image.class_name, image.name or image.path.name
            places.setdefault(key, []).append(image)
        twice = {each.path for same in places.values() if len(same) > 1 for each in same}
        return [
            replace(each, name='_'.join(each.path.relative_to(reader.root).parts[1:]))
            if each.path in twice
            else each
            for each in found
        ]

    def write(self, data: OwnData, folder: Path) -> dict[str, dict[str, Any]]:
        """``<folder>/{train,test}/<class>/<image>``."""
        ImageTree(folder, data.root).write(data.images, dict(dataset='own'))
        return {
            split: dict(type='CustomDataset', data_root=str(folder), data_prefix=split)
            for split in sorted({each.split for each in data.images})
        }

    def loader_options(self) -> dict[str, Any]:
        """Images of one size come as one block of memory."""
        return dict(collate_fn=dict(type='default_collate'))

    def evaluator(self) -> dict[str, Any]:
        """Accuracy of each role and class."""
        metrics = [dict(type='Accuracy', topk=(1,)), dict(type='knowswap_mm.PerClassAccuracy')]
        return dict(type='knowswap_mm.RoleMetric', metric=metrics)

    def answer(self, sample: Any, classes: Sequence[str], count: int, score: float) -> list[dict]:
        """The most likely classes with their probabilities."""
        scores, labels = sample.pred_score.topk(min(count, len(sample.pred_score)))
        pairs = zip(labels.tolist(), scores.tolist(), strict=True)
        return [dict(label=classes[label], score=round(value, 4)) for label, value in pairs]


def _is_tree(path: Path) -> bool:
    """Whether images lie in folders of classes; one is enough.

    Folders with boxes or masks beside the images are data of other tasks.
    """
    if not path.is_dir() or mask_folders(path) or coco_files(path) or any(path.rglob('*.xml')):
        return False
    splits = [path / name for name in ('train', 'val', 'test') if (path / name).is_dir()]
    for root in splits or [path]:
        for each in sorted(root.iterdir()):
            below = each.rglob('*') if each.is_dir() and not is_junk(each.name) else ()
            if any(is_image_name(file.name) for file in below):
                return True
    return False
