"""Units of a segmentor: the regions of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from knowswap_mm.audit.readers.reader import (
    LastCall,
    UnitReader,
    Units,
    check_features,
    queries_at,
)
from knowswap_mm.checks import check_whole
from knowswap_mm.models.fused_features import FusedFeatures
from knowswap_mm.models.samples.reader import as_in_training
from knowswap_mm.registry import AUDITS


@AUDITS.register_module()
class SegmentationReader(UnitReader):
    """A unit is all pixels of a class in an image.

    Its features are what the class layer of the head sees. Where that layer classifies queries
    (MaskFormer, Mask2Former), it is those whose masks lie on the region (:func:`queries_at`, by
    dice); masks alone choose them, so that a model which merely no longer names a class is read
    where it would have named it. A region without a mask of its own is read from the one that
    covers it best. Where the layer classifies pixels, what it sees is averaged over the region; of
    other heads, what ``extract_feat`` gives.

    The answer to a region is the class that most of its pixels are given.

    Args:
        min_pixels (int): Pixels from which a region counts.
        features (str): ``head`` as above; ``maps`` reads all segmentors off ``extract_feat``.

    Raises:
        ConfigError: If ``features`` is unknown.
    """

    unit = 'class region'
    metric = [dict(type='knowswap_mm.SemanticRoleMetric', classwise=True)]
    primary, scale, class_metric = 'seg/mIoU', 100.0, 'seg/IoU/{}'
    batch_size = 1

    def __init__(self, min_pixels: int = 16, features: str = 'head') -> None:
        check_whole('audit.reader.min_pixels', min_pixels, 1, 16)
        self.min_pixels = min_pixels
        self.features = check_features(features)

    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read one image."""
        data = host.data_preprocessor(batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        maps = host.extract_feat(inputs)
        decoder = _decode_head(host)
        with FusedFeatures('never').given(host, maps):
            with LastCall(decoder) as head, LastCall(_class_layer(decoder)) as layer:
                found = host.predict(inputs, samples)[0].pred_sem_seg.data.squeeze()
            with as_in_training(host):
                resized = [self._at_input_size(sample, inputs) for sample in samples]
                loss, _ = host.parse_losses(host.loss(inputs, resized))
        truth = samples[0].gt_sem_seg.data.squeeze().to(found)
        labels, counts = torch.unique(truth, return_counts=True)
        chosen = [
            int(label)
            for label, count in zip(labels, counts, strict=True)
            if int(label) in own and count >= self.min_pixels
        ]
        masks = truth == truth.new_tensor(chosen)[:, None, None]
        if self.features == 'maps' or not layer.inputs:
            features = self._pooled(maps, masks)
        elif isinstance(layer.module, nn.Conv2d):
            features = self._pooled(layer.inputs, masks)
        else:
            logits = interpolate(head.output[1][-1], size=inputs.shape[-2:], mode='bilinear')
            features = self._of_queries(layer, self._placed(host, logits, samples[0]), masks)
        return Units(
            features=features,
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
    def _placed(host: nn.Module, logits: Tensor, sample: Any) -> Tensor:
        """Masks of the queries where the annotated image has them, ``(queries, H, W)``."""
        from mmseg.structures import SegDataSample

        # The host's own way back from the padded, resized image; the queries pass for classes.
        (placed,) = host.postprocess_result(logits, [SegDataSample(metainfo=sample.metainfo)])
        return placed.seg_logits.data.float().sigmoid()

    @staticmethod
    def _of_queries(layer: LastCall, predicted: Tensor, masks: Tensor) -> np.ndarray:
        predicted, masks = predicted.flatten(1), masks.flatten(1).to(predicted)
        sizes = masks.sum(dim=1, keepdim=True) + predicted.sum(dim=1)
        dice = 2 * masks @ predicted.T / sizes
        queries = layer.inputs[0].flatten(0, -3)[-1]  # MaskFormer classifies all layers at once
        return queries_at(dice, queries.float()).cpu().numpy()

    @staticmethod
    def _pooled(maps: Any, masks: Tensor) -> np.ndarray:
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


def _decode_head(host: nn.Module) -> nn.Module:
    head = host.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _class_layer(head: nn.Module) -> nn.Module:
    """The layer that classifies queries or pixels; one that is never called if there is none."""
    found = (getattr(head, name, None) for name in ('cls_embed', 'conv_seg'))
    return next((layer for layer in found if layer is not None), nn.Identity())
