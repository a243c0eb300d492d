"""Units of a detector: objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from knowswap_mm.audit.findings import HEAD
from knowswap_mm.audit.readers.reader import (
    Answers,
    LastCall,
    UnitReader,
    Units,
    check_features,
    of_one_size,
)
from knowswap_mm.checks import check_number
from knowswap_mm.evaluation.answers import OVERLAP, SCORE, called
from knowswap_mm.models.fused_features import FusedFeatures
from knowswap_mm.models.samples.queries import queries_at
from knowswap_mm.models.samples.reader import as_in_training
from knowswap_mm.registry import AUDITS, type_name


@AUDITS.register_module()
class DetectionReader(UnitReader):
    """A unit is an annotated object.

    Its features are what the last class layer of a detection transformer sees of the queries whose
    boxes lie on the object (:func:`queries_at`). Boxes alone choose them, so that a model which
    merely no longer names a class is read where it would have named it. A two-stage detector
    proposes the places of its queries by class scores, though: an object without a query near it
    is read from the one that overlaps it most, however little. The same queries are read after each
    decoder layer. Other detectors are read off ``extract_feat``, averaged over the box, level by
    level.

    The answer to an object is the class of the most confident box that overlaps it enough.

    Args:
        overlap (float): Intersection over union from which a box belongs to an object.
        score (float): Confidence from which a box counts.
        features (str): ``head`` as above; ``maps`` reads all detectors off ``extract_feat``.

    Raises:
        ConfigError: If ``features`` is unknown.
    """

    unit = 'object'
    metric = [dict(type='knowswap_mm.CocoRoleMetric', metric='bbox', classwise=True)]
    primary, scale, class_metric = 'coco/bbox_mAP', 1.0, 'coco/{}_precision'
    batch_size = 1

    def __init__(
        self, overlap: float = OVERLAP, score: float = SCORE, features: str = 'head'
    ) -> None:
        check_number('audit.reader.overlap', overlap, 'in (0, 1]', OVERLAP)
        check_number('audit.reader.score', score, 'in (0, 1]', SCORE)
        self.overlap, self.score = overlap, score
        self.features = check_features(features)

    def pipeline(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Load the boxes before the image is resized, so that they are resized with it."""
        rest = [step for step in steps if not type_name(step['type']).endswith('LoadAnnotations')]
        return [rest[0], dict(type='LoadAnnotations', with_bbox=True), *rest[1:]]

    def class_layers(self, host: nn.Module) -> Mapping[str, str]:
        """The class branch of each decoder layer, if the host has queries and they are read."""
        if self.features != 'head' or not _has_queries(host):
            return {}
        last = len(host.decoder.layers) - 1
        branches = getattr(host.bbox_head, 'cls_branches', ())
        return {
            f'bbox_head.cls_branches.{n}': HEAD if n == last else f'decoder.layers.{n}'
            for n, branch in enumerate(branches)  # behind them may be the encoder's
            if n <= last and isinstance(branch, nn.Linear)
        }

    def answers(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Answers:
        """Ask all images of one size at once, without features and losses."""
        classes, found = _box_head(host).num_classes, []
        for part in of_one_size(batch):
            data = host.data_preprocessor(part, False)
            for sample in host.predict(data['inputs'], data['data_samples'], rescale=False):
                boxes, labels = _truth(sample, own)
                given = called(boxes, sample.pred_instances, classes, self.score, self.overlap)
                found.append((labels.cpu().numpy(), given.cpu().numpy()))
        labels, predicted = zip(*found, strict=True)
        return np.concatenate(labels), np.concatenate(predicted)

    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read one image."""
        data = host.data_preprocessor(batch, False)
        inputs, samples = data['inputs'], data['data_samples']
        maps = host.extract_feat(inputs)
        with FusedFeatures('never').given(host, maps):
            with LastCall(_box_head(host)) as head:
                found = host.predict(inputs, samples, rescale=False)[0].pred_instances
            loss = self._loss(host, inputs, samples)
        boxes, labels = _truth(samples[0], own)
        classes = head.module.num_classes
        if self.features == 'head' and _has_queries(host):
            *layers, features = self._of_queries(head, boxes, samples[0].img_shape)
            layers = {f'decoder.layers.{number}': rows for number, rows in enumerate(layers)}
        else:
            levels = self._pooled(maps, boxes, inputs.shape[-1])
            layers = {f'maps.{number}': rows for number, rows in enumerate(levels)}
            features = np.concatenate(levels, axis=1)
        return Units(
            features=features,
            labels=labels.cpu().numpy(),
            predicted=called(boxes, found, classes, self.score, self.overlap).cpu().numpy(),
            losses=np.array([loss]),
            layers=layers,
        )

    @staticmethod
    def _loss(host: nn.Module, inputs: Tensor, samples: list[Any]) -> float:
        with as_in_training(host):
            return float(host.parse_losses(host.loss(inputs, samples))[0])

    @staticmethod
    def _of_queries(head: LastCall, boxes: Tensor, shape: tuple[int, ...]) -> list[np.ndarray]:
        """After each decoder layer, at the queries whose last boxes lie on the objects."""
        from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps

        hidden, (_, coordinates) = head.inputs[0], head.output  # by layer and image
        size = boxes.new_tensor([shape[1], shape[0]]).repeat(2)
        overlaps = bbox_overlaps(boxes, bbox_cxcywh_to_xyxy(coordinates[-1, 0]).float() * size)
        return [queries_at(overlaps, layer[0].float()).cpu().numpy() for layer in hidden]

    @staticmethod
    def _pooled(maps: Any, boxes: Tensor, width: int) -> list[np.ndarray]:
        from mmcv.ops import roi_align

        rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1).float()
        parts = [
            roi_align(each.float(), rois, 1, each.shape[-1] / width, 2, 'avg', True).flatten(1)
            for each in maps
        ]
        return [part.cpu().numpy() for part in parts]


def _truth(sample: Any, own: set[int]) -> tuple[Tensor, Tensor]:
    """Boxes and labels of the objects of an image that are of some classes."""
    truth = sample.gt_instances
    boxes = truth.bboxes.tensor if hasattr(truth.bboxes, 'tensor') else truth.bboxes
    chosen = torch.tensor([int(label) in own for label in truth.labels], dtype=torch.bool)
    return boxes[chosen], truth.labels[chosen]


def _box_head(host: nn.Module) -> nn.Module:
    head = host.roi_head.bbox_head if hasattr(host, 'roi_head') else host.bbox_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _has_queries(host: nn.Module) -> bool:
    from mmdet.models.detectors.base_detr import DetectionTransformer

    return isinstance(host, DetectionTransformer)
