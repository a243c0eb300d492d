"""Intersection over union of the classes of a role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from knowswap_mm.checks import check_flag
from knowswap_mm.evaluation.answers import NOTHING, told
from knowswap_mm.registry import METRICS
from knowswap_mm.roles import APART, FORGET


@METRICS.register_module()
class SemanticRoleMetric(BaseMetric):
    """mIoU, mean and pixel accuracy over the classes of a role, in percent.

    mmseg's ``IoUMetric`` averages over all classes of the head. Here a class counts if it is the
    role's and has pixels in the role's images; a wrong prediction of it counts wherever a pixel
    is labelled. (Have those images evaluated with ``mixed='keep'``, or pixels of other roles are
    not labelled.) Where some of those are of a forgotten class, ``<metric>_apart`` leaves them out.

    Args:
        classwise (bool): Whether to give ``IoU/<class>`` as well.
        **kwargs: For :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'seg'

    def __init__(self, classwise: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_flag('val_evaluator.metric.classwise', classwise)
        self.classwise = classwise

    def plain_config(self, metainfo: dict[str, Any]) -> dict[str, Any]:
        """Config of mmseg's metric; the role's mIoU is the mean of some of the rows of its table.

        They are the classes of the role with ground truth, that is, with a number under ``Acc``.
        """
        ignored = metainfo.get('ignore_index', 255)
        return dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'], ignore_index=ignored)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the labelled pixels by label and prediction: ``(3, pairs that occur)``.

        Spare rows of the head are no class: what they predict is the one behind the last.
        """
        ignored = self.dataset_meta.get('ignore_index', 255)
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            predicted = sample['pred_sem_seg']['data'].squeeze().long()
            label = sample['gt_sem_seg']['data'].squeeze().to(predicted)
            labelled = (label != ignored) & (label < classes)
            width = classes + 1
            pairs = label[labelled] * width + predicted[labelled].clamp(max=classes)
            counts = torch.bincount(pairs)
            found = counts.nonzero().squeeze(1)
            self.results.append(torch.stack([found // width, found % width, counts[found]]))

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """``mIoU``, ``mAcc`` and ``aAcc`` of the role, and ``IoU/<class>`` on request.

        ``aAcc`` is the share of right ones among all pixels of the role's classes. All are 0 if no
        class of the role occurs.
        """
        names = list(self.dataset_meta['classes'])
        pixels = self._pixels(results)
        found = self._measured(pixels, self.classwise)
        by_role = self.dataset_meta.get('class_roles', {})
        gone = [names.index(name) for name in set(by_role.get(FORGET, ())) - set(self._own)]
        if pixels[gone].any():
            pixels[gone] = 0
            apart = self._measured(pixels, False)
            found.update({f'{name}{APART}': value for name, value in apart.items()})
        return found

    def answers(self, results: list[Tensor]) -> dict[str, dict[str, Any]]:
        """What the pixels of each class of the role were called, see :func:`told`."""
        names, pixels = [*self.dataset_meta['classes'], NOTHING], self._pixels(results)
        counts = {name: pixels[names.index(name)].long().tolist() for name in self._own}
        return told(
            {
                name: Counter({names[label]: n for label, n in enumerate(row) if n})
                for name, row in counts.items()
                if any(row)
            }
        )

    @property
    def _own(self) -> Sequence[str]:
        return self.dataset_meta.get('role_classes', self.dataset_meta['classes'])

    def _pixels(self, results: list[Tensor]) -> Tensor:
        """By label and prediction, ``(classes, classes + 1)``."""
        classes = len(self.dataset_meta['classes'])
        label, predicted, counts = torch.cat(results, dim=1)
        pixels = torch.zeros(classes, classes + 1, dtype=torch.double)
        return pixels.index_put_((label, predicted), counts.double(), accumulate=True)

    def _measured(self, pixels: Tensor, classwise: bool) -> dict[str, float]:
        names = list(self.dataset_meta['classes'])
        intersection, label = pixels.diag(), pixels.sum(dim=1)
        union = label + pixels.sum(dim=0)[: len(names)] - intersection
        rows = [names.index(name) for name in self._own]
        rows = [row for row in rows if label[row] > 0]
        iou = {names[row]: float(100 * intersection[row] / union[row]) for row in rows}
        accuracy = [float(100 * intersection[row] / label[row]) for row in rows]
        found = dict(
            mIoU=sum(iou.values()) / max(len(iou), 1),
            mAcc=sum(accuracy) / max(len(accuracy), 1),
            aAcc=100 * float(intersection[rows].sum()) / max(float(label[rows].sum()), 1.0),
        )
        if classwise:
            found.update({f'IoU/{name}': value for name, value in iou.items()})
        return found
