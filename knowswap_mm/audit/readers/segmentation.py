"""Units of a segmentor: the regions of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from knowswap_mm.audit.findings import HEAD
from knowswap_mm.audit.readers.reader import (
    Answers,
    LastCall,
    UnitReader,
    Units,
    check_features,
    of_one_size,
)
from knowswap_mm.checks import check_whole
from knowswap_mm.models.fused_features import FusedFeatures
from knowswap_mm.models.samples.queries import dice, queries_at
from knowswap_mm.models.samples.reader import Calls, as_in_training
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

    def class_layers(self, host: nn.Module) -> Mapping[str, str]:
        """The one class layer, if its input is read."""
        decoder = _decode_head(host)
        layer = _class_layer(decoder)
        if self.features != 'head' or not isinstance(layer, (nn.Linear, nn.Conv2d)):
            return {}
        return {name: HEAD for name, module in host.named_modules() if module is layer}

    def answers(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Answers:
        """Ask all images of one size at once, without features and losses."""
        labels, predicted = [], []
        for part in of_one_size(batch):
            data = host.data_preprocessor(part, False)
            for sample in host.predict(data['inputs'], data['data_samples']):
                chosen, masks = self._truth(sample, own)
                labels += chosen
                predicted += _called(sample, masks)
        return np.array(labels, np.int64), np.array(predicted, np.int64)

    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read one image."""
        data = host.data_preprocessor(batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        maps = host.extract_feat(inputs)
        decoder = _decode_head(host)
        with FusedFeatures('never').given(host, maps):
            with LastCall(decoder) as head, Calls([_class_layer(decoder)]) as calls:
                (found,) = host.predict(inputs, samples)
            loss = self._loss(host, inputs, samples)
        chosen, masks = self._truth(found, own)
        seen = [given[0] for given, _, _ in calls.made]  # by the class layer
        dense = isinstance(_class_layer(decoder), nn.Conv2d)
        if self.features == 'maps' or not seen or dense:
            levels = self._pooled(maps, masks)
            layers = {f'maps.{number}': rows for number, rows in enumerate(levels)}
            whole = self.features == 'maps' or not seen
            features = np.concatenate(levels if whole else self._pooled(seen[-1:], masks), axis=1)
        else:
            logits = interpolate(head.output[1][-1], size=inputs.shape[-2:], mode='bilinear')
            placed = self._placed(host, logits, samples[0])
            *layers, features = self._of_queries(seen, placed, masks)
            layers = {f'decoder.predictions.{number}': rows for number, rows in enumerate(layers)}
        return Units(
            features=features,
            labels=np.array(chosen, dtype=np.int64),
            predicted=np.array(_called(found, masks), np.int64),
            losses=np.array([loss]),
            layers=layers,
        )

    def _truth(self, sample: Any, own: set[int]) -> tuple[list[int], Tensor]:
        """Labels and masks of the regions of an image that are of some classes."""
        truth = sample.gt_sem_seg.data.squeeze().to(sample.pred_sem_seg.data.device)
        labels, counts = torch.unique(truth, return_counts=True)
        chosen = [
            int(label)
            for label, count in zip(labels, counts, strict=True)
            if int(label) in own and count >= self.min_pixels
        ]
        return chosen, truth == truth.new_tensor(chosen)[:, None, None]

    def _loss(self, host: nn.Module, inputs: Tensor, samples: list[Any]) -> float:
        resized = [self._at_input_size(sample, inputs) for sample in samples]
        with as_in_training(host):
            return float(host.parse_losses(host.loss(inputs, resized))[0])

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
    def _of_queries(seen: list[Tensor], predicted: Tensor, masks: Tensor) -> list[np.ndarray]:
        """By prediction of the decoder, at the queries whose last masks lie on the regions."""
        overlaps = dice(masks.to(predicted), predicted)
        # MaskFormer classifies all layers at once, Mask2Former one after another.
        layers = [layer for call in seen for layer in call.flatten(0, -3)]
        return [queries_at(overlaps, layer.float()).cpu().numpy() for layer in layers]

    @staticmethod
    def _pooled(maps: Any, masks: Tensor) -> list[np.ndarray]:
        """Means over the regions, map by map."""
        found = []
        for each in maps:
            rows = np.zeros((len(masks), each.shape[1]), np.float32)
            for number, mask in enumerate(masks):
                share = adaptive_avg_pool2d(mask[None, None].float(), each.shape[-2:])
                share = share / share.sum()
                rows[number] = (each.float() * share).sum(dim=(0, 2, 3)).cpu().numpy()
            found.append(rows)
        return found


def _called(sample: Any, masks: Tensor) -> list[int]:
    """The class that most pixels of each region are given."""
    found = sample.pred_sem_seg.data.squeeze()
    return [int(found[mask].mode().values) for mask in masks]


def _decode_head(host: nn.Module) -> nn.Module:
    head = host.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _class_layer(head: nn.Module) -> nn.Module:
    """The layer that classifies queries or pixels; one that is never called if there is none."""
    found = (getattr(head, name, None) for name in ('cls_embed', 'conv_seg'))
    return next((layer for layer in found if layer is not None), nn.Identity())
