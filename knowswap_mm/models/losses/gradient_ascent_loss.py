"""Forgetting by ascent without a bound."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from knowswap_mm.models.losses.weighted_sum_loss import WeightedSumLoss
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET
from knowswap_mm.schedule import SwapPhase


@MODELS.register_module()
class GradientAscentLoss(WeightedSumLoss):
    r"""Ascends the loss of the forget data for as long as the phase lasts.

    .. math:: w_l L_l + w_r L_r - w_f L_f + w_s S

    with the terms whose role the phase has; the phase has ``bound='none'``. Nothing ends the ascent
    (gradient ascent of Thudi et al., "Unrolling SGD", 2022, beside descent on retained data):
    a total that is no longer finite is for :class:`PhaseHook` to report.

    Args:
        group_by (str): Groups of the sparse term: ``block``, ``lora`` or ``matrix``.
        group_exclude (Sequence[str]): Regular expressions of linears that are in no group.
    """

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted term; that of the forget data has the opposite sign."""
        sign = -1 if role == FORGET else 1
        return {f'loss_{role}': sign * phase.weights[role] * loss}
