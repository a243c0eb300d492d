"""The objective of knowledge swapping."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from knowswap_mm.checks import check_choice
from knowswap_mm.errors import ConfigError
from knowswap_mm.models.losses.objective import READABLE, WeightedSumLoss
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET
from knowswap_mm.schedule import SwapPhase, SwapSchedule

HINGES = ('mean', 'sample')


@MODELS.register_module()
class SwappingLoss(WeightedSumLoss):
    r"""Combines the role losses of a batch with the group-sparse term of the adapters.

    .. math:: w_l L_l + w_r L_r + w_f \max(0, B - L_f) + w_s S

    with the terms whose role the phase has. Weights :math:`w` and bound :math:`B` come from the
    phase. The official losses are presets of the four weights (paper, section on learning and
    unlearning; formulas in ``docs/design.md``).

    With ``hinge='sample'`` the forget term is

    .. math:: w_f \frac{1}{N} \sum_i \max(0, B - n_i)

    over the nats :math:`n_i` of the samples of the process's batch (:class:`SampleLosses`): no
    sample is pushed beyond the bound, and none of enormous loss stands for the others. Of the
    forget data the host's own loss is logged only. Processes need not agree on anything.

    Args:
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.
        hinge (str): ``mean`` (of the host's own forget loss) or ``sample``.

    Raises:
        ConfigError: If the hinge is unknown.
    """

    def __init__(
        self,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
        hinge: str = 'mean',
    ) -> None:
        super().__init__(group_by, group_exclude)
        check_choice('model.loss.hinge', hinge, HINGES, 'hinge')
        self.hinge = hinge

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

    def wants(self, phase: SwapPhase) -> Collection[str]:
        """Forget samples, for a hinge on each of them."""
        return (FORGET,) if self.hinge == 'sample' and FORGET in phase.roles else ()

    def refuse_host(self, host: str) -> ConfigError:
        """It is the hinge that needs samples."""
        problem = f'no reader reads losses by sample of {host}'
        fix = f"use hinge='mean' with a bound for the loss of this host, or {READABLE}"
        return ConfigError('model.loss.hinge', self.hinge, problem, fix)

    def measure(
        self,
        swapper: nn.Module,
        role: str,
        inputs: Tensor,
        samples: list[Any],
        phase: SwapPhase,
        found: SampleLosses | None = None,
    ) -> dict[str, Tensor]:
        """The ``hinge`` over the samples that were asked for, and the share of those ``at_bound``.

        Both are zero if there are none.
        """
        if found is None:
            return {}
        nats, count = found.nats, max(len(found), 1)
        below = nats.detach() < phase.bound
        # As below: samples that are not finite make the total NaN.
        each = (phase.bound - nats) * below + nats.detach() * 0
        return dict(hinge=each.sum() / count, at_bound=(~below).sum() / count)

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted term; that of the forget data ends at the bound, and whether it did."""
        if role != FORGET:
            return super().role_terms(role, loss, phase, measured)
        if 'hinge' in measured:
            # Zero, with a path to all that the host's loss hangs on: DDP waits for a gradient of
            # each parameter, and a batch may show no object. NaN if that loss is not finite.
            hinge = measured['hinge'] + loss * 0
            return {
                'loss_forget': phase.weights[FORGET] * hinge,
                'forget/bound_hit': measured['at_bound'],
            }
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
