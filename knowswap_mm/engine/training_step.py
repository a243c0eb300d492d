"""What is remembered of a training step until it is known to have gone well."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor

from knowswap_mm.datasets.seeding import derive_seed


def role_batches(
    runner: Any, role: str, samples: int, batch_size: int, purpose: str
) -> Iterator[dict[str, Any]]:
    """Serve some training samples of a role, the same ones whenever the seed is the same.

    They have their true labels (see :class:`RandomLabelRoleView`) and the training pipeline's
    augmentation. The stream of training samples is not touched, and every process gets them all.

    Args:
        runner (SwapRunner): The runner, in training.
        role (str): The role.
        samples (int): At most so many samples.
        batch_size (int): Samples in a batch; the last one may have less.
        purpose (str): Part of the seed by which they are chosen.

    Yields:
        dict: ``inputs`` and ``data_samples``, preprocessed for the host.
    """
    dataset = runner.train_dataloader.dataset
    span = dataset.span(role)
    rng = np.random.default_rng(derive_seed(purpose, runner.seed, role))
    chosen = [span[i] for i in rng.permutation(len(span))[:samples]]
    for start in range(0, len(chosen), batch_size):
        batch = pseudo_collate([dataset[i] for i in chosen[start : start + batch_size]])
        yield runner.swapper.data_preprocessor(batch, False)


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


#: A device and a dtype; values of one kind are fetched together.
Kind = tuple[torch.device, torch.dtype]


class DeviceTerms:
    """Scalars that stay on the device until somebody needs them as numbers."""

    def __init__(self) -> None:
        self._entries: list[tuple[Callable[[Any], object], Kind]] = []
        self._stacks: dict[Kind, list[Tensor]] = {}

    @torch.no_grad()
    def keep(self, values: Iterable[tuple[Callable[[Any], object], Tensor]]) -> None:
        """Keep the values of a step: copies, so that nobody's later change shows.

        Args:
            values (Iterable[tuple[Callable, Tensor]]): Who takes the number, and a tensor of one
                element.
        """
        groups: dict[Kind, list[Tensor]] = {}
        for take, value in values:
            kind = (value.device, value.dtype)
            self._entries.append((take, kind))
            groups.setdefault(kind, []).append(value.reshape(()) if value.ndim else value)
        for kind, group in groups.items():
            self._stacks.setdefault(kind, []).append(torch.stack(group))

    def fetch(self) -> None:
        """Hand out all numbers, in one copy a kind; this waits for the device."""
        entries, self._entries = self._entries, []
        stacks, self._stacks = self._stacks, {}
        numbers = {kind: iter(torch.cat(parts).tolist()) for kind, parts in stacks.items()}
        for take, kind in entries:
            take(next(numbers[kind]))


@torch.no_grad()
def fetch(steps: Sequence[TrainingStep]) -> None:
    """Turn the terms of all steps into numbers, in one copy for each device and dtype.

    Args:
        steps (Sequence[TrainingStep]): The steps; they are changed.
    """
    kept = DeviceTerms()
    for terms in (step.terms for step in steps):
        found = {name: value for name, value in terms.items() if isinstance(value, Tensor)}
        kept.keep(
            (partial(terms.__setitem__, name), v if v.numel() == 1 else v.float().mean())
            for name, v in found.items()
        )
    kept.fetch()
