"""Forgetting by moving away from a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.losses.weighted_sum_loss import WeightedSumLoss
from knowswap_mm.models.original_host import original_host
from knowswap_mm.models.to_device import to_device
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule import SwapPhase, SwapSchedule


@MODELS.register_module()
class DistillationForgettingLoss(WeightedSumLoss):
    r"""Stays with the model of the start on retained data and leaves it on forget data.

    .. math::
        w_l L_l + w_r (L_r + \alpha D_r) - w_f D_f + w_s S, \quad
        D = T^2 \, \mathrm{KL}(p_t^{1/T} \,\Vert\, p_s^{1/T})

    in phases with forget data, which have ``bound='none'``; other phases are a plain weighted sum.
    The teacher :math:`p_t` is the host before the swap, :math:`p_s` the present one, both over the
    classes that the teacher knows; samples of learned classes, which it does not, count in
    :math:`L_r` alone. The distance :math:`D_f` takes the place of the host's loss on forget data.

    After SCRUB (Kurmanji et al., "Towards Unbounded Machine Unlearning", 2023), which alternates
    steps that maximise :math:`D_f` with steps that minimise the rest and ends with the latter.
    A batch of ours holds both roles, so a step does both at once; the steps at the end are a
    further forget phase with the weight ``forget=0``.

    Args:
        temperature (float): :math:`T`.
        retain_distance (float): :math:`\alpha`.
        group_by (str): Groups of the sparse term: ``block``, ``lora`` or ``matrix``.
        group_exclude (Sequence[str]): Regular expressions of linears that are in no group.

    Raises:
        ConfigError: If a number cannot be used.
    """

    def __init__(
        self,
        temperature: float = 2.0,
        retain_distance: float = 1.0,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(group_by, group_exclude)
        if type(temperature) not in (int, float) or not 0 < temperature < float('inf'):
            key = 'model.loss.temperature'
            raise ConfigError(key, temperature, 'not a finite number > 0', 'e.g. 2.0')
        if type(retain_distance) not in (int, float) or not 0 <= retain_distance < float('inf'):
            key = 'model.loss.retain_distance'
            raise ConfigError(key, retain_distance, 'not a finite number >= 0', 'e.g. 1.0')
        self.temperature, self.retain_distance = temperature, retain_distance
        # In a tuple, so that it is no submodule: it is made anew from what is stored anyway.
        self._teacher: tuple[nn.Module, ...] = ()

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a bound, and let go of the teacher of an earlier training.

        Raises:
            ConfigError: If a phase with forget data has a finite bound.
        """
        super().check(schedule)
        self._teacher = ()

    def measure(
        self, swapper: nn.Module, role: str, inputs: Tensor, samples: list[Any], phase: SwapPhase
    ) -> dict[str, Tensor]:
        """The ``distance`` to the teacher, of forget and retain data of a phase that forgets.

        Raises:
            ConfigError: If the host gives no logits of ``(N, classes)``.
        """
        if FORGET not in phase.roles or role == LEARN:
            return {}
        if not self._teacher:
            self._teacher = (original_host(swapper),)
        student = _logits(swapper.host, inputs, swapper.class_rows.total)
        with torch.no_grad():
            teacher = _logits(self._teacher[0], inputs, swapper.class_rows.total)
        known = torch.tensor([sample.get('source', role) != LEARN for sample in samples])
        rows = to_device(known, student.device, pin=True)
        old = swapper.class_rows.old
        return dict(distance=self.distance(teacher[:, :old], student[:, :old], rows))

    def distance(self, teacher: Tensor, student: Tensor, rows: Tensor | None = None) -> Tensor:
        """Mean divergence of the student from the teacher.

        Args:
            teacher (Tensor): Logits, ``(N, classes)``.
            student (Tensor): Logits, ``(N, classes)``.
            rows (Tensor | None): Samples that count, bool ``(N, )``; None for all. Zero if none.

        Returns:
            Tensor: The scalar, in nats, times the squared temperature.
        """
        target = F.log_softmax(teacher.float() / self.temperature, dim=1)
        found = F.log_softmax(student.float() / self.temperature, dim=1)
        each = F.kl_div(found, target, reduction='none', log_target=True).sum(1)
        counted = torch.ones_like(each) if rows is None else rows.to(each.dtype)
        return self.temperature**2 * (each * counted).sum() / counted.sum().clamp(min=1)

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted terms, with the ``distance`` where it was measured; it is logged, too."""
        if 'distance' not in measured:
            return super().role_terms(role, loss, phase, measured)
        distance, weight = measured['distance'], phase.weights[role]
        terms = {f'{role}/distance': distance.detach()}
        if role == RETAIN:
            terms['loss_retain'] = weight * loss
            terms['loss_retain_distance'] = weight * self.retain_distance * distance
        else:
            terms['loss_forget'] = -weight * distance
        return terms


def _logits(host: nn.Module, inputs: Tensor, classes: int) -> Tensor:
    given, reason = None, ''
    try:
        given = host(inputs, mode='tensor')
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        reason = f' ({error})'
    if isinstance(given, Tensor) and given.dim() == 2 and given.shape[1] == classes:
        return given
    name = type(host).__name__
    problem = f'the mode `tensor` of {name} gives no logits of shape (N, {classes}){reason}'
    fix = 'use this objective with a classifier, or another one with this host'
    raise ConfigError('model.loss.type', 'DistillationForgettingLoss', problem, fix)
