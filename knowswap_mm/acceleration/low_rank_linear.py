"""A frozen linear and a low-rank part in one operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.library.custom_op(
    'knowswap_mm::low_rank_linear',
    mutates_args=(),
    schema='(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b) -> (Tensor, Tensor)',
)
def low_rank_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`x W^T + c + (x A^T) B^T` with little memory traffic.

    Both the output and the gradient of the input are written by the large product, and the small
    one is added to them in place. Composed of ordinary operations, each of the two would be copied
    or summed by passes of its own. It is an operator of torch because compilers take it as it is:
    they would turn the addition in place into a copy (and torch 2.11 lost the gradient at it).

    Args:
        x (Tensor): Rows, ``(N, in)``; all tensors have one type.
        weight (Tensor): Frozen weight W, ``(out, in)``; it gets no gradient.
        bias (Tensor | None): Frozen bias c, ``(out,)``; it gets no gradient.
        a (Tensor): Matrix A, ``(rank, in)``.
        b (Tensor): Matrix B, ``(out, rank)``, its scale folded in.

    Returns:
        tuple[Tensor, Tensor]: Rows, ``(N, out)``, and their low-rank part :math:`x A^T`,
        ``(N, rank)``, which the backward pass uses again.
    """
    low = x @ a.t()
    return F.linear(x, weight, bias).addmm_(low, b.t()), low


@low_rank_linear.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], weight.shape[0]), x.new_empty(x.shape[0], a.shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what gradients are made of: nothing of the activations if A and B are frozen."""
    x, weight, _, a, b = inputs
    ctx.set_materialize_grads(False)
    learns = ctx.needs_input_grad[3] or ctx.needs_input_grad[4]
    ctx.save_for_backward(weight, a, b, *((x, output[1]) if learns else ()))


def _backward(
    ctx: Any, gradient: Tensor | None, of_low: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Compute the gradients of x, A and B; ``of_low`` is there in second derivatives alone."""
    weight, a, b, *kept = ctx.saved_tensors
    of_x, _, _, of_a, of_b = ctx.needs_input_grad
    dx = da = db = up = None
    if gradient is not None and of_x:
        dx, up = low_rank_linear(gradient, weight.t(), None, b.t(), a.t())
    elif gradient is not None and of_a:
        up = gradient @ b
    if of_low is not None:
        up = of_low if up is None else up + of_low
        if of_x:
            dx = of_low @ a if dx is None else dx + of_low @ a
    if of_a and up is not None:
        da = up.t() @ kept[0]
    if of_b and gradient is not None:
        db = gradient.t() @ kept[1]
    return dx, None, None, da, db


low_rank_linear.register_autograd(_backward, setup_context=_keep)
