"""What every objective has in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from knowswap_mm.schedule import SwapPhase, SwapSchedule


class Objective(nn.Module, metaclass=ABCMeta):
    """Turns the losses of the roles into the terms that are minimised.

    A subclass writes :meth:`forward`; the other methods are there for those that need them.
    """

    def attach(self, model: nn.Module) -> None:
        """See the host once, after the adapters were injected.

        Args:
            model (nn.Module): The host with its adapters.
        """

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a schedule with which the objective makes no sense, before training.

        Args:
            schedule (SwapSchedule): All phases.
        """

    def measure(
        self, swapper: nn.Module, role: str, inputs: Tensor, samples: list[Any], phase: SwapPhase
    ) -> dict[str, Tensor]:
        """Measure what the host's own loss does not hold, e.g. a distance to another model.

        Called once for each role of a training batch. Where the features of all roles are
        extracted at once, ``swapper.host.extract_feat`` returns those of the role meanwhile.

        Args:
            swapper (nn.Module): The :class:`KnowledgeSwapper`.
            role (str): The role.
            inputs (Tensor): Its pictures, ``(N, C, H, W)``.
            samples (list): Its samples.
            phase (SwapPhase): The phase of the batch.

        Returns:
            dict[str, Tensor]: Scalars by name.
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
            role_losses (Mapping[str, Tensor]): The host's scalar loss by role.
            phase (SwapPhase): The phase of the batch.
            measured (Mapping | None): What :meth:`measure` gave, by role.

        Returns:
            dict[str, Tensor]: Terms to be summed, under keys with ``loss``; what is only logged,
            under keys without it.
        """
