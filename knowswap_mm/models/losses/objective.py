"""Plain descent on the losses of all roles, and what all objectives with adapters share."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import GroupSparsity, LoRAGroups
from knowswap_mm.lora.injector import lora_layers
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule import SwapPhase, SwapSchedule

#: Hosts that a reader of :mod:`knowswap_mm.models.samples` reads, for messages.
READABLE = (
    'a classifier with a linear head and cross entropy, a dense segmentor of mmseg, or a '
    'transformer like DETR or MaskFormer'
)


class Objective(nn.Module, metaclass=ABCMeta):
    """Turns the losses of the roles into the terms that are minimised.

    A subclass writes :meth:`forward`; the other methods are there for those that need them.

    Attributes:
        hook (str | None): Type of a hook without which the objective cannot work; the runner adds
            it, unless the config has one of the type.
        held_out (Mapping): How much training data is held out, where some is: ``held_most`` and
            ``held_each`` of :class:`RoleDataset`.
        beneath (bool): Whether a phase that forgets works at what no loss of a sample shows. The
            guard then neither ends it early nor takes an earlier state for a better one.
    """

    hook: str | None = None
    beneath: bool = False
    held_out: Mapping[str, Any] = MappingProxyType({})

    def attach(self, model: nn.Module) -> None:
        """See the host once, after the adapters were injected."""

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a schedule with which the objective makes no sense, before training."""

    def wants(self, phase: SwapPhase) -> Collection[str]:
        """Roles whose losses and features by sample the objective needs in a phase; none here."""
        return ()

    def blocks_in(self, phase: SwapPhase) -> int:
        """After how many of the last blocks of a backbone samples are to have features, too.

        Only samples that are images have, see :class:`Depth`; nothing listens where none is asked.
        """
        return 0

    def prepare(
        self,
        swapper: nn.Module,
        inputs: Mapping[str, Tensor],
        samples: Mapping[str, list[Any]],
        phase: SwapPhase,
    ) -> None:
        """Look at a training batch before the model does, e.g. with a teacher.

        Args:
            swapper (nn.Module): The :class:`KnowledgeSwapper`.
            inputs (Mapping[str, Tensor]): Its images by role, ``(N, C, H, W)``.
            samples (Mapping[str, list]): Its samples by role.
            phase (SwapPhase): Its phase.
        """

    def refuse_host(self, host: str) -> ConfigError:
        """The error for a host, by the name of its class, whose samples no reader reads."""
        name = type(self).__name__
        problem = f'{name} needs losses by sample, and no reader reads those of {host}'
        return ConfigError(
            'model.loss.type', name, problem, f'use another objective, or {READABLE}'
        )

    def measure(
        self,
        swapper: nn.Module,
        role: str,
        inputs: Tensor,
        samples: list[Any],
        phase: SwapPhase,
        found: SampleLosses | None = None,
    ) -> dict[str, Tensor]:
        """Measure what the host's own loss does not hold, e.g. a distance to another model.

        Called once for each role of a training batch. Where the features of all roles are
        extracted at once, ``swapper.host.extract_feat`` returns those of the role meanwhile.

        Args:
            swapper (nn.Module): The :class:`KnowledgeSwapper`.
            role (str): The role.
            inputs (Tensor): Its images, ``(N, C, H, W)``.
            samples (list): Its samples.
            phase (SwapPhase): The phase of the batch.
            found (SampleLosses): Its samples as the host's loss saw them; given only for roles
                that :meth:`wants` names.

        Returns:
            dict[str, Tensor]: By name, for :meth:`forward`; scalars, unless that one wants others.
        """
        return {}

    @abstractmethod
    def forward(
        self,
        role_losses: Mapping[str, Tensor],
        phase: SwapPhase,
        measured: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Weigh the terms.

        Args:
            role_losses (Mapping[str, Tensor]): The host's loss by role, scalars.
            phase (SwapPhase): The phase of the batch.
            measured (Mapping | None): What :meth:`measure` gave, by role.

        Returns:
            dict[str, Tensor]: Scalars: terms to be summed, under keys with ``loss``; what is only
            logged, under keys without it.
        """


@MODELS.register_module()
class WeightedSumLoss(Objective):
    r"""Descends on every role of a batch.

    .. math:: w_l L_l + w_r L_r + w_f L_f + w_s S

    with the terms whose role the phase has. That is the objective where the forget samples carry
    labels that are to be learned, e.g. random ones (:class:`RandomLabelRoleView`; Golatkar et al.,
    "Eternal Sunshine of the Spotless Net", 2020, has it as a baseline). Other objectives inherit
    the group-sparse term S of the adapters and change :meth:`role_terms`, or :meth:`common_terms`.

    Args:
        group_by (str): Groups of the sparse term: ``block``, ``lora`` or ``matrix``.
        group_exclude (Sequence[str]): Regular expressions of linear layers that are in no group.
    """

    def __init__(self, group_by: str = 'block', group_exclude: Sequence[str] = ()) -> None:
        super().__init__()
        self.group_by = group_by
        self.group_exclude = group_exclude
        self.sparsity: GroupSparsity | None = None

    def attach(self, model: nn.Module) -> None:
        """Find the LoRA groups of the model, if it has any."""
        if next(lora_layers(model), None) is None:  # FullTrainingSwapper has none
            return
        self.sparsity = GroupSparsity(LoRAGroups(model, self.group_by, self.group_exclude))

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a bound that nothing would ask for.

        Raises:
            ConfigError: If a phase with forget data has a finite bound.
        """
        for phase in schedule.phases:
            if FORGET in phase.roles and not math.isinf(phase.bound):
                key, name = f'swap.phases.{phase.index}.bound', type(self).__name__
                fix = "write bound='none', or use knowswap_mm.SwappingLoss"
                raise ConfigError(key, phase.bound, f'{name} has no bound', fix)

    def forward(
        self,
        role_losses: Mapping[str, Tensor],
        phase: SwapPhase,
        measured: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Join the terms of all roles and the common ones."""
        terms: dict[str, Tensor] = {}
        for role in (LEARN, RETAIN, FORGET):
            if role in role_losses:
                also = (measured or {}).get(role, {})
                terms |= self.role_terms(role, role_losses[role], phase, also)
        return terms | self.common_terms(phase)

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of one role, as of :meth:`forward`, from its scalar loss and what was measured."""
        return {f'loss_{role}': phase.weights[role] * loss}

    def common_terms(self, phase: SwapPhase) -> dict[str, Tensor]:
        """Terms of the weights, whatever the roles, as of :meth:`forward`: the group-sparse one."""
        if phase.weights['sparsity'] > 0 and self.sparsity is not None:
            value = self.sparsity()
            return dict(loss_sparsity=phase.weights['sparsity'] * value, sparsity=value.detach())
        return {}
