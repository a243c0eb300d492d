"""A low-rank part that a compiler puts into its neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: Above, a matrix product costs less than the terms that are added one by one.
FUSABLE_RANK = 16


def fusable_low_rank(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> Tensor:
    r"""Compute :math:`x W^T + c + (x A^T) B^T` for a compiler that fuses elementwise operations.

    A product with a matrix of few columns reads and writes the whole output for little arithmetic
    (on an H100 a tenth of a ViT-B/16's step). As a sum of ``rank`` terms it is elementwise, so
    that the compiler adds it where the output is read next (in the activation, say), and the
    gradient of ``x`` likewise. Run operation by operation it would be slow:
    :func:`low_rank_linear` is for that.

    Args:
        x (Tensor): Rows, ``(N, in)``; all tensors have one type.
        weight (Tensor): Frozen weight W, ``(out, in)``.
        bias (Tensor | None): Frozen bias c, ``(out,)``.
        a (Tensor): Matrix A, ``(rank, in)``.
        b (Tensor): Matrix B, ``(out, rank)``, its scale folded in.

    Returns:
        Tensor: Rows, ``(N, out)``.
    """
    return F.linear(x, weight, bias) + _Spread.apply(_Project.apply(x, a), b)


def _terms(low: Tensor, matrix: Tensor) -> Tensor:
    """The product of ``(N, rank)`` and ``(rank, out)`` as a sum of outer products."""
    dtype = low.dtype
    if dtype.itemsize < 4:  # summed as matrix products are
        low, matrix = low.float(), matrix.float()
    total = low[:, :1] * matrix[0]
    for i in range(1, len(matrix)):
        total = total + low[:, i : i + 1] * matrix[i]
    return total.to(dtype)


class _Project(torch.autograd.Function):
    """x times the transpose of A; the gradient of x is elementwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor) -> Tensor:
        ctx.save_for_backward(x, a)
        return x @ a.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, a = ctx.saved_tensors
        dx = _terms(gradient, a) if ctx.needs_input_grad[0] else None
        return dx, gradient.t() @ x if ctx.needs_input_grad[1] else None


class _Spread(torch.autograd.Function):
    """The low-rank part times the transpose of B, elementwise; its gradients are products."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(low, b)
        return _terms(low, b.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        low, b = ctx.saved_tensors
        dlow = gradient @ b if ctx.needs_input_grad[0] else None
        return dlow, gradient.t() @ low if ctx.needs_input_grad[1] else None
