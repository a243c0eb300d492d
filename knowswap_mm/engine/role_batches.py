"""Samples of one role outside of the training stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import pseudo_collate

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
