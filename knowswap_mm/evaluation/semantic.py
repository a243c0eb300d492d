"""Intersection over union of the classes of a role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as HOST_METRICS

from knowswap_mm.checks import check_flag
from knowswap_mm.registry import METRICS


@METRICS.register_module()
class SemanticRoleMetric(BaseMetric):
    """mIoU, mean and pixel accuracy over the classes of a role, in percent.

    mmseg's ``IoUMetric`` averages over all classes of the head. Here a class counts if it is the
    role's and has pixels in the role's images; a wrong prediction of it counts wherever a pixel
    is labelled. (Have those images evaluated with ``mixed='keep'``, or pixels of other roles are
    not labelled.)

    Args:
        classwise (bool): Whether to give ``IoU/<class>`` as well.
        **kwargs: For :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'seg'

    def __init__(self, classwise: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_flag('val_evaluator.metric.classwise', classwise)
        self.classwise = classwise
        self._count = HOST_METRICS.get('mmseg.IoUMetric').intersect_and_union

    def plain_config(self, metainfo: dict[str, Any]) -> dict[str, Any]:
        """Config of mmseg's metric; the role's mIoU is the mean of some of the rows of its table.

        They are the classes of the role with ground truth, that is, with a number under ``Acc``.
        """
        ignored = metainfo.get('ignore_index', 255)
        return dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'], ignore_index=ignored)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count pixels: intersection, union, prediction and label by class."""
        ignored = self.dataset_meta.get('ignore_index', 255)
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            predicted = sample['pred_sem_seg']['data'].squeeze()
            label = sample['gt_sem_seg']['data'].squeeze().to(predicted)
            areas = self._count(predicted, label, classes, ignored)
            self.results.append(torch.stack(areas).long())

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """``mIoU``, ``mAcc`` and ``aAcc`` of the role, and ``IoU/<class>`` on request.

        ``aAcc`` is the share of right ones among all pixels of the role's classes. All are 0 if no
        class of the role occurs. Results are ``(4, classes)`` by image.
        """
        intersection, union, _, label = torch.stack(results).sum(dim=0).double()
        names = list(self.dataset_meta['classes'])
        role = self.dataset_meta.get('role_classes', names)
        rows = [names.index(name) for name in role]
        rows = [row for row in rows if label[row] > 0]
        iou = {names[row]: float(100 * intersection[row] / union[row]) for row in rows}
        accuracy = [float(100 * intersection[row] / label[row]) for row in rows]
        pixels = float(label[rows].sum())
        found = dict(
            mIoU=sum(iou.values()) / max(len(iou), 1),
            mAcc=sum(accuracy) / max(len(accuracy), 1),
            aAcc=100 * float(intersection[rows].sum()) / max(pixels, 1.0),
        )
        if self.classwise:
            found.update({f'IoU/{name}': value for name, value in iou.items()})
        return found
