"""What the images, objects or pixels of a class are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: The answer for an object on which nothing is found. No class has this name.
NOTHING = ''
#: An object is called what is found with so much confidence, and so much overlap (IoU), on it.
SCORE, OVERLAP = 0.3, 0.5
#: Answers that are kept of a class, the most frequent ones.
_KEPT = 5


def told(counts: Mapping[str, Counter[str]]) -> dict[str, dict[str, Any]]:
    """By class its number of ``units``, and of each of its most frequent ``answers``.

    A unit is an image, an object or a pixel, as the metric has it.
    """
    return {
        name: dict(units=given.total(), answers=dict(given.most_common(_KEPT)))
        for name, given in counts.items()
    }


def called(
    boxes: Tensor, found: Mapping[str, Tensor], nothing: int, score: float = SCORE,
    overlap: float = OVERLAP,
) -> Tensor:  # fmt: skip
    """Label of the surest detection on each object; ``nothing`` where there is none.

    Args:
        boxes (Tensor): Objects, ``(objects, 4)``, as corners.
        found (Mapping): ``bboxes`` as corners, ``scores`` and ``labels`` of detections.
        nothing (int): What is no label.
        score (float): Confidence from which a detection counts.
        overlap (float): Intersection over union from which it lies on an object.
    """
    from mmdet.structures.bbox import bbox_overlaps

    none = boxes.new_full((len(boxes),), nothing, dtype=torch.long)
    counted = found['scores'] >= score
    if not bool(counted.any()) or not len(boxes):
        return none
    overlaps = bbox_overlaps(boxes, found['bboxes'][counted])
    best, position = (found['scores'][counted] * (overlaps >= overlap)).max(dim=1)
    return torch.where(best > 0, found['labels'][counted][position], none)
