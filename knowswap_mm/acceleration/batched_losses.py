"""Losses of DETR-like heads for all layers and images at once."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS

_MATCHING = 'knowswap_mm.acceleration.matching'
_DENSE, _DECODE = 'mmdet.models.dense_heads', 'mmseg.models.decode_heads'


class BatchedLosses(Acceleration):
    """Base: heads become of a class that matches all layers and images at once.

    The host waits for the device some ten times for every layer and image; with this, a role waits
    once, for its matching costs. Assignments are the host's but for ties within rounding, losses
    and gradients differ by the order of sums. Heads with another assigner, or with costs or losses
    that are not known here, keep their own path.
    """

    #: Module and name of the new class by those of the host's; imported for hosts that have it.
    heads: ClassVar[dict[str, tuple[str, str]]]

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The heads that the new classes fit."""
        heads = exact_modules(host, *self.heads)
        return [head for head in heads if self._batched(head).fits(head)]

    def change(self, module: nn.Module) -> None:
        """Change the class of a head, which has no state of its own."""
        module.__class__ = self._batched(module)

    def _batched(self, head: nn.Module) -> type[nn.Module]:
        module, name = self.heads[f'{type(head).__module__}.{type(head).__qualname__}']
        return getattr(import_module(f'{_MATCHING}.{module}'), name)


@ACCELERATIONS.register_module()
class BatchedDINOLosses(BatchedLosses):
    """Matches all layers and images of DINO and Deformable DETR at once."""

    heads: ClassVar = {
        f'{_DENSE}.dino_head.DINOHead': ('dino', 'BatchedDINOHead'),
        f'{_DENSE}.deformable_detr_head.DeformableDETRHead': ('dino', 'BatchedDeformableDETRHead'),
    }


@ACCELERATIONS.register_module()
class BatchedMask2FormerLosses(BatchedLosses):
    """Matches all layers and images of mmdet's and mmseg's Mask2Former at once.

    In mmseg a role waits a second time, for the classes of its maps. Random points are the host's.
    ``LabelledPointsMask2FormerHead`` keeps its own path.
    """

    heads: ClassVar = {
        f'{_DENSE}.mask2former_head.Mask2FormerHead': ('mask_losses', 'BatchedMask2FormerHead'),
        f'{_DECODE}.mask2former_head.Mask2FormerHead': (
            'semantic_mask2former',
            'BatchedSemanticMask2FormerHead',
        ),
    }
