"""What is remembered of a training step until it is known to have gone well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: The term beside those of the host whose value says whether the step was good.
GRADIENT_NORM = 'gradient_norm'


@dataclass
class TrainingStep:
    """The numbers of a step, which may lie on the device still.

    Attributes:
        iteration (int): Iteration of the run, from 0.
        terms (dict[str, Tensor | float]): What the model and the optimizer gave to be logged.
        rates (list[float]): Learning rates of the step.
    """

    iteration: int
    terms: dict[str, Tensor | float]
    rates: list[float]

    def nonfinite(self) -> list[str]:
        """Names of the losses that are no numbers, once :func:`fetch` was there.

        Metrics are no losses: an accuracy of nothing may be undefined.
        """
        return [
            name
            for name, value in self.terms.items()
            if ('loss' in name or name.endswith('/raw') or name == GRADIENT_NORM)
            and not math.isfinite(value)
        ]


@torch.no_grad()
def fetch(steps: Sequence[TrainingStep]) -> None:
    """Turn the terms of all steps into numbers, in one copy for each device and dtype.

    Args:
        steps (Sequence[TrainingStep]): The steps; they are changed.
    """
    waiting: dict[Any, list[tuple[dict[str, Any], str, Tensor]]] = {}
    for step in steps:
        for name, value in step.terms.items():
            if isinstance(value, Tensor):
                value = value.reshape(()) if value.numel() == 1 else value.float().mean()
                place = (step.terms, name, value)
                waiting.setdefault((value.device, value.dtype), []).append(place)
    for places in waiting.values():
        numbers = torch.stack([value for _, _, value in places]).tolist()
        for (terms, name, _), number in zip(places, numbers, strict=True):
            terms[name] = number
