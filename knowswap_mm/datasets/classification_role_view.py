"""Role view over a single-label classification data set."""

from __future__ import annotations

from typing import Any

import numpy as np

from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.registry import DATASETS


@DATASETS.register_module()
class ClassificationRoleView(RoleView):
    """Keeps the pictures whose ``gt_label`` is a class of the role.

    Works over every data set of mmpretrain that has ``get_gt_labels`` (ImageFolder trees,
    annotation files, CIFAR, ...). See :class:`RoleView` for the arguments.
    """

    audit_reader = 'knowswap_mm.ClassificationReader'

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

    def _gt_labels(self) -> np.ndarray:
        return np.asarray(self.host.get_gt_labels(), dtype=np.int64)
