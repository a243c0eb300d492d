"""What each phase was, for the manifest of an adapter."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from knowswap_mm.lora import GroupSparsity, LoRAGroups
from knowswap_mm.roles import ROLES
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.schedule import SwapPhase

#: A group below this share of the largest norm counts as gone.
SMALL = 0.01


class SwapHistory:
    """One entry a phase, for the manifest of an adapter; survives a resumed run.

    An entry has ``name``, ``kind``, ``iterations``, ``weights``, ``bound`` (None if there is none),
    ``seed``, ``classes`` by role, ``groups`` (number of LoRA groups, their smallest, mean and
    largest norm, and how many are below 1 % of the largest), ``metric`` and ``metrics`` (the
    primary metric by role; empty if it was not measured).
    """

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}

    def add(
        self, phase: SwapPhase, swapper: nn.Module, classes: dict[str, Any], seed: int | None
    ) -> None:
        """Record the end of a phase, with class names by role; a repeated one replaces the old."""
        self.entries[phase.name] = dict(
            name=phase.name,
            kind=phase.kind,
            iterations=phase.length,
            weights={name: float(value) for name, value in phase.weights.items()},
            bound=None if math.isinf(phase.bound) else float(phase.bound),
            seed=seed,
            classes={role: list(classes.get(role, ())) for role in ROLES},
            groups=group_summary(swapper),
        )

    def to_list(self, results: SwapResults) -> list[dict[str, Any]]:
        """The entries with the metrics that were measured after each phase."""
        listed = []
        for name, entry in self.entries.items():
            measured = results.states.get(name, {}).get('metrics', {})
            keys = {role: f'{role}/{results.primary}' for role in ROLES}
            metrics = {role: float(measured[key]) for role, key in keys.items() if key in measured}
            listed.append(dict(entry, metric=results.primary, metrics=metrics))
        return listed

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return self.entries

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.entries = dict(state)


def group_summary(swapper: nn.Module) -> dict[str, float]:
    """Norms of the groups of the adapter that trains, a transformer block a group.

    See :class:`SwapHistory`; empty without adapters.
    """
    if not swapper.adapters:
        return {}
    groups = LoRAGroups(swapper.host, adapter=swapper.adapter_name)
    device = groups.parameters[0].device
    norms = GroupSparsity(groups).to(device).group_norms().detach().cpu()
    largest = float(norms.max())
    return dict(
        number=len(groups),
        smallest=float(norms.min()),
        mean=float(norms.mean()),
        largest=largest,
        small=int((norms < SMALL * largest).sum()),
    )
