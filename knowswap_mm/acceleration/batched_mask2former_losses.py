"""Mask2Former's losses for all layers and images at once."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS


@ACCELERATIONS.register_module()
class BatchedMask2FormerLosses(Acceleration):
    """Matches all layers and images of mmdet's and mmseg's Mask2Former at once.

    The host waits for the device some ten times for every layer and image; with this, a role
    waits once for its matching costs, and in mmseg once for the classes of its maps. Random points
    and assignments are the host's (but for ties within rounding), losses and gradients differ by
    the order of sums. Heads with another assigner, or with costs or losses that are not known here,
    keep their own path, and so does ``LabelledPointsMask2FormerHead``.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's head.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Heads that were changed.
        """
        plain = exact_modules(host, 'mmdet.models.dense_heads.mask2former_head.Mask2FormerHead')
        name = 'mmseg.models.decode_heads.mask2former_head.Mask2FormerHead'
        semantic = exact_modules(host, name)
        changed = 0
        if plain:
            from knowswap_mm.acceleration.matching.mask_losses import BatchedMask2FormerHead

            changed += _change(plain, BatchedMask2FormerHead)
        if semantic:
            from knowswap_mm.acceleration.matching.semantic_mask2former import (
                BatchedSemanticMask2FormerHead,
            )

            changed += _change(semantic, BatchedSemanticMask2FormerHead)
        return changed


def _change(heads: list[nn.Module], kind: type[nn.Module]) -> int:
    fitting = [head for head in heads if kind.fits(head)]
    for head in fitting:
        head.__class__ = kind
    return len(fitting)
