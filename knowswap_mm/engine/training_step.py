"""What is remembered of a training step until it is known to have gone well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
