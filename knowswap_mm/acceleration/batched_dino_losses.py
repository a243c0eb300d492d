"""DINO's losses for all layers and images at once."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS

_HEADS = 'mmdet.models.dense_heads'


@ACCELERATIONS.register_module()
class BatchedDINOLosses(Acceleration):
    """Matches all layers and images of DINO and Deformable DETR at once.

    The host waits for the device dozens of times for every layer and image; with this, a role
    waits once, for its matching costs. Assignments are the host's but for ties within rounding,
    losses and gradients differ by the order of sums. Heads with another assigner, or with costs or
    losses that are not known here, keep their own path.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's head.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Heads that were changed.
        """
        dino = exact_modules(host, f'{_HEADS}.dino_head.DINOHead')
        others = exact_modules(host, f'{_HEADS}.deformable_detr_head.DeformableDETRHead')
        if not dino and not others:
            return 0
        from knowswap_mm.acceleration.matching.dino import (
            BatchedDeformableDETRHead,
            BatchedDINOHead,
        )

        changed = 0
        for heads, kind in ((dino, BatchedDINOHead), (others, BatchedDeformableDETRHead)):
            for head in filter(kind.fits, heads):
                head.__class__ = kind
                changed += 1
        return changed
