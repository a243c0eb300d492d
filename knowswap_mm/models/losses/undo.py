"""Unlearn, damage the weights, and distil them back from the unlearned model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.checks import check_number
from knowswap_mm.errors import ConfigError
from knowswap_mm.models.losses.swapping import SwappingLoss
from knowswap_mm.models.losses.teacher import Taught, divergence, logits_of
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET
from knowswap_mm.schedule import SwapPhase, SwapSchedule


@MODELS.register_module()
class UndoLoss(Taught, SwappingLoss):
    r"""Forgets in phases with a bound, and distils the forgetful model in phases without one.

    With a bound it is :class:`SwappingLoss`. In a phase with forget data and ``bound='none'``,
    which comes after one with a bound, every role is distilled and no label counts:

    .. math:: \sum_{\mathrm{roles}} w \, T^2 \, \mathrm{KL}(p_t \,\Vert\, p_s) + w_s S

    The teacher is the model at the start of that phase, which says nothing of the forgotten classes
    any more; the student is the same model after :class:`UndoHook` damaged its weights. Knowledge
    that the answers do not show is not distilled.

    After UNDO (Lee et al., "Distillation Robustifies Unlearning", 2025, arXiv 2506.06278), which is
    about language models. It differs in how the first step forgets (bounded ascent), in that the
    length of the repair is fixed, where the paper stops at a share of the teacher's performance,
    and in the data: those of the swap by role, where the paper distils on the data of pretraining.
    We are not sure how much of the forgotten domain that holds; here the weight ``forget`` of the
    phase says how much forgotten images count.

    Args:
        temperature (float): :math:`T`.
        group_by (str): As for :class:`SwappingLoss`, like ``group_exclude`` and ``hinge``.

    Raises:
        ConfigError: If a value cannot be used.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
        hinge: str = 'mean',
    ) -> None:
        super().__init__(group_by, group_exclude, hinge)
        check_number('model.loss.temperature', temperature, '> 0', 1.0)
        self.temperature = temperature

    def taught(self, phase: SwapPhase) -> bool:
        """In phases with forget data and without a bound."""
        return FORGET in phase.roles and math.isinf(phase.bound)

    def check(self, schedule: SwapSchedule) -> None:
        """Require a phase that forgets and, after it, one that repairs.

        Raises:
            ConfigError: If one of them is missing, or the repair comes first.
        """
        self.teacher = None
        forgets = [phase for phase in schedule.phases if FORGET in phase.roles]
        repairs = [self.taught(phase) for phase in forgets]
        if not any(repairs):
            problem = 'no phase has forget data and no bound, so nothing is damaged and distilled'
            fix = "add dict(kind='forget', bound='none', ...) behind the phase that forgets"
            raise ConfigError('swap.phases', [p.kind for p in schedule.phases], problem, fix)
        if repairs[0]:
            key = f'swap.phases.{forgets[0].index}.bound'
            problem = 'a teacher must have forgotten before it is distilled'
            raise ConfigError(key, 'none', problem, 'put a forget phase with a bound before it')

    def wants(self, phase: SwapPhase) -> Sequence[str]:
        """Forget samples, for a hinge on each of them in a phase that forgets."""
        return () if self.taught(phase) else super().wants(phase)

    def measure(
        self,
        swapper: nn.Module,
        role: str,
        inputs: Tensor,
        samples: list[Any],
        phase: SwapPhase,
        found: SampleLosses | None = None,
    ) -> dict[str, Tensor]:
        """The ``distance`` to the teacher in a phase that repairs; otherwise as SwappingLoss.

        Raises:
            ConfigError: If the host gives no logits of ``(N, classes)``, or there is no teacher.
        """
        if not self.taught(phase):
            return super().measure(swapper, role, inputs, samples, phase, found)
        teacher, total, name = self.lesson(), swapper.class_rows.total, type(self).__name__
        with torch.no_grad():
            given = logits_of(teacher.host, inputs, total, name).float()
        logits = logits_of(swapper.host, inputs, total, name).float()
        target = F.softmax(given / self.temperature, dim=1)
        student = F.log_softmax(logits / self.temperature, dim=1)
        return dict(distance=self.temperature**2 * divergence(target, student))

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted term: the ``distance`` where it was measured; it is logged, too."""
        if 'distance' not in measured:
            return super().role_terms(role, loss, phase, measured)
        distance = measured['distance']
        return {
            f'loss_{role}': phase.weights[role] * distance,
            f'{role}/distance': distance.detach(),
        }


@torch.no_grad()
def shrink_and_perturb(
    parameters: Mapping[str, nn.Parameter], share: float, noise: float, seed: int
) -> None:
    r"""Damage weights in place.

    .. math:: \theta \leftarrow (1 - \alpha) \, \theta + \alpha \beta N

    with :math:`N` from Xavier's normal initialisation. It depends on the seed, the names and the
    shapes alone, not on the device. Vectors (biases, gains of norms) stay: their initial values are
    constants, and a gain that shrinks only scales what comes after it.

    Args:
        parameters (Mapping[str, nn.Parameter]): The weights by name.
        share (float): :math:`\alpha`.
        noise (float): :math:`\beta`.
        seed (int): Of the noise; the caller's random numbers go on as if none had been drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, parameter in sorted(parameters.items()):
            if parameter.dim() > 1:
                drawn = nn.init.xavier_normal_(torch.empty(parameter.shape))
                drawn = drawn.to(parameter.device, parameter.dtype)
                parameter.mul_(1 - share).add_(drawn, alpha=share * noise)
