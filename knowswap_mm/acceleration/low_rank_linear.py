"""A frozen linear and a low-rank part in one function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class LowRankLinear(torch.autograd.Function):
    r"""Computes :math:`x W^T + c + (x A^T) B^T` with little memory traffic.

    Both the output and the gradient of the input are written by the large product, and the small
    one is added to them in place. Composed of ordinary operations, each of the two would be copied
    or summed by passes of its own. Kept for the backward pass are ``x`` and ``x A^T``, and neither
    of them if ``A`` and ``B`` are frozen; the frozen ``W`` gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
    ) -> Tensor:
        """Compute the output.

        Args:
            ctx: What autograd keeps.
            x (Tensor): Rows, ``(N, in)``; all tensors have one type.
            weight (Tensor): Frozen weight W, ``(out, in)``.
            bias (Tensor | None): Frozen bias c, ``(out,)``.
            a (Tensor): Matrix A, ``(rank, in)``.
            b (Tensor): Matrix B, ``(out, rank)``, its scale folded in.

        Returns:
            Tensor: Rows, ``(N, out)``.
        """
        low = x @ a.t()
        out = F.linear(x, weight, bias).addmm_(low, b.t())
        learns = ctx.needs_input_grad[3] or ctx.needs_input_grad[4]
        ctx.save_for_backward(weight, a, b, *((x, low) if learns else ()))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of ``x``, ``a`` and ``b``.

        Args:
            ctx: What autograd kept.
            gradient (Tensor): Gradient of the output, ``(N, out)``.
        """
        weight, a, b, *kept = ctx.saved_tensors
        of_x, _, _, of_a, of_b = ctx.needs_input_grad
        up = gradient @ b if of_x or of_a else None
        dx = (gradient @ weight).addmm_(up, a) if of_x else None
        da = up.t() @ kept[0] if of_a else None
        db = None
        if of_b:
            low = kept[1]
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                # A second derivative is wanted, and autograd does not know what `low` came from.
                low = kept[0] @ a.t()
            db = gradient.t() @ low
        return dx, None, None, da, db
