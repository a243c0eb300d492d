"""Accuracy of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from knowswap_mm.registry import METRICS


@METRICS.register_module()
class PerClassAccuracy(BaseMetric):
    """Top-1 accuracy by class name, in percent; argmax over all classes of the head.

    Classes without a picture have no entry. See :class:`mmengine.evaluator.BaseMetric` for the
    arguments.
    """

    default_prefix = 'class'

    def plain_config(self, metainfo: dict[str, Any]) -> dict[str, Any]:
        """Config of mmpretrain's metric: the recall of a class is its accuracy.

        Args:
            metainfo (dict): Not used.
        """
        return dict(type='mmpretrain.SingleLabelMetric', items=('recall',), average=None)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep label and prediction of each sample."""
        for sample in data_samples:
            self.results.append((int(sample['gt_label']), int(sample['pred_label'])))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Accuracy by class name."""
        names = (self.dataset_meta or {}).get('classes', ())
        hits: dict[int, list[bool]] = {}
        for label, predicted in results:
            hits.setdefault(label, []).append(label == predicted)
        return {
            names[label] if label < len(names) else str(label): 100 * sum(right) / len(right)
            for label, right in sorted(hits.items())
        }
