"""Units of a segmentor: the regions of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from knowswap_mm.evaluation.audit.readers.unit_reader import UnitReader, training_flag
from knowswap_mm.evaluation.audit.units import Units
from knowswap_mm.models.fused_features import FusedFeatures
from knowswap_mm.registry import AUDITS


@AUDITS.register_module()
class SegmentationReader(UnitReader):
    """A unit is all pixels of a class in a picture; its features are averaged over them.

    The answer to a region is the class that most of its pixels are given.

    Args:
        min_pixels (int): Pixels from which a region counts.
    """

    unit = 'class region'
    metric = [dict(type='knowswap_mm.SemanticRoleMetric', classwise=True)]
    primary, scale, class_metric = 'seg/mIoU', 100.0, 'seg/IoU/{}'
    batch_size = 1

    def __init__(self, min_pixels: int = 16) -> None:
        self.min_pixels = min_pixels

    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read one picture."""
        data = host.data_preprocessor(batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        maps = host.extract_feat(inputs)
        with FusedFeatures('never').given(host, maps):
            found = host.predict(inputs, samples)[0].pred_sem_seg.data.squeeze()
            with training_flag(host):
                resized = [self._at_input_size(sample, inputs) for sample in samples]
                loss, _ = host.parse_losses(host.loss(inputs, resized))
        truth = samples[0].gt_sem_seg.data.squeeze().to(found)
        labels, counts = torch.unique(truth, return_counts=True)
        chosen = [
            int(label)
            for label, count in zip(labels, counts, strict=True)
            if int(label) in own and count >= self.min_pixels
        ]
        masks = [truth == label for label in chosen]
        return Units(
            features=self._pooled(maps, masks),
            labels=np.array(chosen, dtype=np.int64),
            predicted=np.array([int(found[mask].mode().values) for mask in masks], np.int64),
            losses=np.array([float(loss)]),
        )

    @staticmethod
    def _at_input_size(sample: Any, inputs: Tensor) -> Any:
        truth = sample.gt_sem_seg.data
        if truth.shape[-2:] == inputs.shape[-2:]:
            return sample
        resized = interpolate(truth[None].float(), size=inputs.shape[-2:], mode='nearest')[0]
        sample = sample.clone()
        del sample.gt_sem_seg
        sample.gt_sem_seg = PixelData(data=resized.to(truth))
        return sample

    @staticmethod
    def _pooled(maps: Any, masks: list[Tensor]) -> np.ndarray:
        rows = []
        for mask in masks:
            parts = []
            for each in maps:
                share = adaptive_avg_pool2d(mask[None, None].float(), each.shape[-2:])
                share = share / share.sum()
                parts.append((each.float() * share).sum(dim=(0, 2, 3)))
            rows.append(torch.cat(parts).cpu().numpy())
        channels = sum(each.shape[1] for each in maps)
        return np.stack(rows) if rows else np.zeros((0, channels), np.float32)
