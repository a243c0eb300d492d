"""A frozen linear and a low-rank part in one operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Numbers in a row of what matrix units read; with another count, products take slower ways.
_ALIGNED = 8


@torch.library.custom_op(
    'knowswap_mm::low_rank_linear',
    mutates_args=(),
    schema='(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b) -> (Tensor, Tensor)',
)
def low_rank_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`x W^T + c + (x A^T) B^T` with little memory traffic.

    The output and the gradient of the input are each written by one large product. Where the output
    is the wider side, :math:`x A^T` stands beside a copy of x, and B beside W, so that the large
    product adds the small one; elsewhere the small product is added in place, which then moves less
    memory than that copy. Composed of ordinary operations, each of the two would be copied or
    summed by passes of its own. It is an operator of torch because compilers take it as it is: they
    would turn the addition in place into a copy (and torch 2.11 lost the gradient at it).

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
    # A backward pass inside of autocast would round gradients that are not to be rounded.
    with torch.autocast(x.device.type, enabled=False):
        low = x @ a.t()
        if _widens(x, weight):
            padding = -(x.shape[1] + len(a)) % _ALIGNED
            wide = torch.cat([x, low, x.new_zeros(len(x), padding)], 1)
            out = F.linear(wide, _beside(weight, b, b.new_zeros(len(b), padding)), bias)
        else:
            out = F.linear(x, weight, bias).addmm_(low, b.t())
        return out, low


def _widens(x: Tensor, weight: Tensor) -> bool:
    """Whether a copy of the input is cheaper than another pass over the output.

    Reading and writing x costs ``2 N in``, the output ``2 N out``; the copy of W, ``2 in out``, is
    to be nothing beside them.
    """
    return 2 * weight.shape[1] <= weight.shape[0] and len(x) >= 4 * weight.shape[1]


def _beside(*matrices: Tensor) -> Tensor:
    """Matrices side by side, with the memory format of the first."""
    if matrices[0].is_contiguous():
        return torch.cat(matrices, 1)
    return torch.cat([matrix.t() for matrix in matrices]).t()


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
    with torch.autocast(weight.device.type, enabled=False):
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
