"""Role view over a single-label classification data set."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from knowswap_mm.datasets.picture_root import picture_root
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATASETS


@DATASETS.register_module()
class ClassificationRoleView(RoleView):
    """Keeps the pictures whose ``gt_label`` is a class of the role.

    Works over every data set of mmpretrain that has ``get_gt_labels`` (ImageFolder trees,
    annotation files, CIFAR, ...). See :class:`RoleView` for the arguments.
    """

    audit_reader = 'knowswap_mm.ClassificationReader'
    drawer = 'knowswap_mm.ClassificationDrawer'

    def select(self, labels: dict[int, int]) -> np.ndarray:
        """Host indices of the pictures with one of the labels."""
        return np.flatnonzero(np.isin(self._gt_labels(), list(labels)))

    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected host indices, one array a class."""
        labels = self._gt_labels()[selected]
        return [selected[labels == label] for label in np.unique(labels)]

    def relabel(self, data_info: dict[str, Any]) -> dict[str, Any]:
        """Replace ``gt_label`` by the label of the swap."""
        data_info['gt_label'] = self.labels[int(data_info['gt_label'])]
        return data_info

    def write_plain(
        self, folder: Path, labels: Mapping[int, int], classes: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write ``pictures.json``, an annotation file of OpenMMLab 2.0."""
        from knowswap_mm.engine.atomic_file import write_text  # only now: the engine imports this

        infos = [self.data_info(position) for position in range(len(self))]
        infos = [info for info in infos if info['gt_label'] in labels]
        self._check_written(infos)
        if any('img_path' not in info for info in infos):
            fix = 'use a data set of picture files, or leave the test data out'
            raise ConfigError(f'{self.key}.dataset', self.role, 'its pictures are no files', fix)
        root, names = picture_root([info['img_path'] for info in infos])
        pairs = zip(names, infos, strict=True)
        data_list = [dict(img_path=name, gt_label=labels[i['gt_label']]) for name, i in pairs]
        content = dict(metainfo=dict(classes=list(classes)), data_list=data_list)
        path = folder / 'pictures.json'
        write_text(path, json.dumps(content, ensure_ascii=False, indent=1))
        config = dict(
            type='mmpretrain.BaseDataset',
            ann_file=str(path),
            data_root=root,
            pipeline=copy.deepcopy(self.dataset['pipeline']),
            test_mode=True,
        )
        return config, {}

    def _gt_labels(self) -> np.ndarray:
        return np.asarray(self.host.get_gt_labels(), dtype=np.int64)
