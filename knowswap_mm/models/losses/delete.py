"""Decoupled distillation: forgotten samples get what is left of the teacher's answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.checks import check_number
from knowswap_mm.models.losses.objective import WeightedSumLoss
from knowswap_mm.models.losses.teacher import Taught, divergence, logits_of
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule import SwapPhase


@MODELS.register_module()
class DecoupledDistillationLoss(Taught, WeightedSumLoss):
    r"""Distils the teacher's answers with the forgotten classes masked out.

    .. math::
        w_l L_l + w_r (L_r + \alpha D_r) + w_f D_f + w_s S, \quad
        D_r = T^2 \, \mathrm{KL}(p_t \,\Vert\, p_s), \quad
        D_f = T^2 \, \mathrm{KL}(\bar p_t \,\Vert\, p_s)

    in phases with forget data, which have ``bound='none'``; other phases are a plain weighted sum.
    :math:`p = \mathrm{softmax}(z / T)` over the classes that the teacher knows, and
    :math:`\bar p_t` is the same with the logits of forgotten classes at minus infinity. As
    :math:`\mathrm{KL}(\bar p_t \Vert p_s) = -\log(1 - p_s(\mathrm{forgotten})) +
    \mathrm{KL}(\bar p_t \Vert \bar p_s)`, it forgets and keeps the rest of the answer apart. The
    teacher is the model at the start of the phase, see :class:`Taught`.

    After DELETE (Zhou et al., "Decoupled Distillation to Erase", 2025, arXiv 2503.23751), whose
    forget term this is, as far as we know it. It differs in that we train on retained data, too,
    by labels and by the teacher (the paper does without any); in that all forgotten classes are
    masked for each forgotten sample and not its own class alone; and in that adapters train. We are
    not sure of the paper's temperature; 1 is our choice.

    Args:
        temperature (float): :math:`T`.
        retain_distance (float): :math:`\alpha`; 0 leaves retained data to their labels.
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.

    Raises:
        ConfigError: If a number cannot be used.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        retain_distance: float = 1.0,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(group_by, group_exclude)
        check_number('model.loss.temperature', temperature, '> 0', 1.0)
        check_number('model.loss.retain_distance', retain_distance, '>= 0', 1.0)
        self.temperature, self.retain_distance = temperature, retain_distance

    def taught(self, phase: SwapPhase) -> bool:
        """In phases with forget data."""
        return FORGET in phase.roles

    def measure(
        self,
        swapper: nn.Module,
        role: str,
        inputs: Tensor,
        samples: list[Any],
        phase: SwapPhase,
        found: SampleLosses | None = None,
    ) -> dict[str, Tensor]:
        """The ``distance`` to the target, of forget and retain data of a phase that forgets.

        Raises:
            ConfigError: If the host gives no logits of ``(N, classes)``, or there is no teacher.
        """
        if role == LEARN or not self.taught(phase):
            return {}
        teacher, total = self.lesson(), swapper.class_rows.total
        logits = logits_of(swapper.host, inputs, total, type(self).__name__)[:, : teacher.known]
        student = F.log_softmax(logits.float() / self.temperature, dim=1)
        given = teacher.logits(inputs, total, self).float()
        if role == FORGET:
            target, counted = self.target(given, teacher.hidden, found), None
        else:
            target = F.softmax(given / self.temperature, dim=1)
            counted = teacher.counted(role, samples, student.device)
        return dict(distance=self.temperature**2 * divergence(target, student, counted))

    def target(self, logits: Tensor, hidden: Tensor, found: SampleLosses | None = None) -> Tensor:
        """What the student shall answer for forgotten samples.

        Args:
            logits (Tensor): The teacher's, ``(N, known)``, float32.
            hidden (Tensor): Which classes are masked, bool ``(known,)``.
            found (SampleLosses | None): The samples, where the objective wants them.

        Returns:
            Tensor: Probabilities, ``(N, known)``, zero where hidden.
        """
        return F.softmax((logits / self.temperature).masked_fill(hidden, -math.inf), dim=1)

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
            terms['loss_forget'] = weight * distance
        return terms
