"""Norms of groups of matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class GroupNorms(torch.autograd.Function):
    r"""Computes :math:`n_g = \sqrt{\sum_{P \in g} \lVert P \rVert_F^2 + \epsilon}` of many groups.

    Both passes launch a handful of kernels, whatever the number of matrices: autograd's own
    backward pass of a norm launches four for each. The gradient of a matrix is
    :math:`P / n_g`, zero for a group of zeros.
    """

    @staticmethod
    def forward(
        ctx: Any, membership: Tensor, owners: Tensor, epsilon: float, *matrices: Tensor
    ) -> Tensor:
        """Compute the norms.

        Args:
            ctx: Of autograd.
            membership (Tensor): 1 where a matrix is in a group, ``(groups, matrices)``.
            owners (Tensor): The number of the matrix of each element, ``(elements,)``.
            epsilon (float): Keeps the division by a norm of zero away.
            *matrices (Tensor): The matrices.

        Returns:
            Tensor: Norms, ``(groups,)``, in fp32.
        """
        squares = torch.stack(torch._foreach_norm(matrices)).float().square()
        norms = (membership @ squares + epsilon).sqrt()
        ctx.save_for_backward(membership, owners, norms, *matrices)
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the matrices; they are parts of one tensor."""
        membership, owners, norms, *matrices = ctx.saved_tensors
        factors = (gradient / norms) @ membership
        flat = torch.cat([matrix.flatten() for matrix in matrices])
        # Taken by index: torch's repetition waits for the device to look at the counts.
        flat.mul_(factors.index_select(0, owners))
        parts = zip(flat.split([matrix.numel() for matrix in matrices]), matrices, strict=True)
        gradients = [part.view_as(matrix).to(matrix.dtype) for part, matrix in parts]
        return None, None, None, *gradients
