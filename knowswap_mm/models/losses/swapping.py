"""The objective of knowledge swapping."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.losses.objective import WeightedSumLoss
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET
from knowswap_mm.schedule import SwapPhase, SwapSchedule


@MODELS.register_module()
class SwappingLoss(WeightedSumLoss):
    r"""Combines the role losses of a batch with the group-sparse term of the adapters.

    .. math:: w_l L_l + w_r L_r + w_f \max(0, B - L_f) + w_s S

    with the terms whose role the phase has. Weights :math:`w` and bound :math:`B` come from the
    phase. The official losses are presets of the four weights (paper, section on learning and
    unlearning; formulas in ``docs/design.md``).

    Args:
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.
    """

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a forget term without a bound.

        Raises:
            ConfigError: If a phase with forget data has ``bound='none'``.
        """
        for phase in schedule.phases:
            if FORGET in phase.roles and math.isinf(phase.bound):
                fix = 'set it above the forget loss of the start, e.g. 105 for a classifier'
                key = f'swap.phases.{phase.index}.bound'
                problem = f'{type(self).__name__} needs a finite bound > 0'
                raise ConfigError(key, 'none', problem, fix)

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted term; that of the forget data ends at the bound, and whether it did."""
        if role != FORGET:
            return super().role_terms(role, loss, phase, measured)
        gate = self._below_bound(loss, phase.bound)
        # A loss that is not finite must not pass for a finished forget: zero times it makes the
        # total NaN, which the divergence check reports, instead of a quiet zero.
        hinge = (phase.bound - loss) * gate.to(loss.dtype) + loss.detach() * 0
        return {'loss_forget': phase.weights[FORGET] * hinge, 'forget/bound_hit': 1 - gate}

    @staticmethod
    def _below_bound(raw: Tensor, bound: float) -> Tensor:
        """1 while the forget loss is below the bound, else 0; on the mean of all processes.

        Otherwise the effective bound would depend on their number.
        """
        mean = raw.detach().float()
        if get_world_size() > 1:
            mean = mean.clone()  # it is reduced in place
            all_reduce(mean, op='mean')
        return (mean < bound).float()
