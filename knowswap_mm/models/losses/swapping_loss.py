"""The objective of knowledge swapping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import GroupSparsity, LoRAGroups
from knowswap_mm.models.losses.objective import Objective
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule import SwapPhase, SwapSchedule


@MODELS.register_module()
class SwappingLoss(Objective):
    r"""Combines the role losses of a batch with the group-sparse term of the adapters.

    .. math:: w_l L_l + w_r L_r + w_f \max(0, B - L_f) + w_s S

    with the terms whose role the phase has. Weights :math:`w` and bound :math:`B` come from the
    phase. The official losses are presets of the four weights (paper, section on learning and
    unlearning; formulas in ``docs/design.md``).

    Args:
        group_by (str): Groups of the sparse term: ``block``, ``lora`` or ``matrix``.
        group_exclude (Sequence[str]): Regular expressions of linears that are in no group.
    """

    def __init__(self, group_by: str = 'block', group_exclude: Sequence[str] = ()) -> None:
        super().__init__()
        self.group_by = group_by
        self.group_exclude = group_exclude
        self.sparsity: GroupSparsity | None = None

    def attach(self, model: nn.Module) -> None:
        """Find the LoRA groups of the model; called once, after injection.

        Args:
            model (nn.Module): The host with its adapters.
        """
        self.sparsity = GroupSparsity(LoRAGroups(model, self.group_by, self.group_exclude))

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a forget term without a bound.

        Raises:
            ConfigError: If a phase with forget data has ``bound='none'``.
        """
        for phase in schedule.phases:
            if FORGET in phase.roles and math.isinf(phase.bound):
                fix = 'set it above the forget loss of the start, e.g. 105 for a classifier'
                key = f'swap.phases.{phase.index}.bound'
                raise ConfigError(key, 'none', 'SwappingLoss needs a finite bound > 0', fix)

    def forward(
        self,
        role_losses: Mapping[str, Tensor],
        phase: SwapPhase,
        measured: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Weigh the terms.

        Args:
            role_losses (Mapping[str, Tensor]): The host's scalar loss by role.
            phase (SwapPhase): The phase of the batch.
            measured (Mapping | None): Not used.

        Returns:
            dict[str, Tensor]: Terms to be summed, under keys with ``loss``; whether the bound is
            hit and S, under keys without it.
        """
        weights = phase.weights
        terms: dict[str, Tensor] = {}
        for role in (LEARN, RETAIN):
            if role in role_losses:
                terms[f'loss_{role}'] = weights[role] * role_losses[role]
        if FORGET in role_losses:
            raw = role_losses[FORGET]
            gate = self._below_bound(raw, phase.bound)
            terms['loss_forget'] = weights[FORGET] * self._hinge(raw, phase.bound, gate)
            terms['forget/bound_hit'] = 1 - gate
        if weights['sparsity'] > 0 and self.sparsity is not None:
            value = self.sparsity()
            terms['loss_sparsity'] = weights['sparsity'] * value
            terms['sparsity'] = value.detach()
        return terms

    @staticmethod
    def _below_bound(raw: Tensor, bound: float) -> Tensor:
        """1 while the forget loss, averaged over all processes, is below the bound, else 0.

        Every process decides on the same mean: otherwise the effective bound would depend on the
        number of processes.
        """
        mean = raw.detach().float().clone()
        all_reduce(mean, op='mean')
        return (mean < bound).float()

    @staticmethod
    def _hinge(raw: Tensor, bound: float, gate: Tensor) -> Tensor:
        # A loss that is not finite must not pass for a finished forget: it makes the total
        # not-a-number, which the divergence check reports, instead of a quiet zero.
        broken = torch.where(torch.isfinite(raw.detach()), 0.0, torch.nan).to(raw.dtype)
        return torch.where(gate > 0, bound - raw, torch.zeros_like(raw)) + broken
