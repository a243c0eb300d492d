"""How much a loss depends on single weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def diagonal_fisher(
    host: nn.Module, names: Sequence[str], samples: Iterable[dict[str, Any]]
) -> dict[str, Tensor]:
    r"""Estimate the diagonal of the empirical Fisher information matrix.

    .. math:: F_i = \frac{1}{N} \sum_n \left( \partial L(x_n, y_n) / \partial \theta_i \right)^2

    with the host's own loss and the labels of the data. Squares are taken sample by sample: the
    square of a batch's mean gradient is another, smaller quantity.

    Args:
        host (nn.Module): A plain host; its parameters of these names will require gradients.
        names (Sequence[str]): Full names of the weights.
        samples (Iterable[dict]): ``inputs`` and ``data_samples`` of one sample each, preprocessed.

    Returns:
        dict[str, Tensor]: Values of the diagonal by name, in the shapes of the weights.
    """
    weights = [host.get_parameter(name).requires_grad_(True) for name in names]
    sums = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
    count = 0
    with torch.enable_grad():
        for sample in samples:
            loss, _ = host.parse_losses(host.loss(sample['inputs'], sample['data_samples']))
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total += gradient.detach().square()
            count += 1
    return {name: total / max(count, 1) for name, total in zip(names, sums, strict=True)}
