"""How far answers and features are from others: pure functions of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowswap_mm.models.samples.queries import NOTHING

#: Kernels of the distance between features: ``exp(-g |u - v|^2 / 2)``, summed over ``g``.
SHARPNESS = (2.0, 8.0, 32.0)
#: Probability up to which a sigmoid says no: twice what it gives each class before it has seen
#: anything.
QUIET = 2 * NOTHING


def masked(logits: Tensor, columns: Tensor) -> Tensor:
    """Logits that exclude some columns.

    Args:
        logits (Tensor): ``(N, K)``.
        columns (Tensor): Numbers of the columns that are excluded, int64.

    Returns:
        Tensor: ``(N, K)``, float32, with minus infinity in them.
    """
    return logits.float().index_fill(1, columns, float('-inf'))


def surest(logits: Tensor, classes: int, sigmoid: bool) -> Tensor:
    """Probability of the class that each answer gives most, ``(N,)``, float32, from 0 to 1.

    Args:
        logits (Tensor): Answers, ``(N, K)``; columns behind those of the classes stand for no
            object.
        classes (int): Number of classes.
        sigmoid (bool): Whether each column is a yes or no of its own.
    """
    said = logits.float()
    return (said.sigmoid() if sigmoid else said.softmax(1))[:, :classes].amax(1)


def taken_for(
    shares: Tensor, logits: Tensor, forgotten: Tensor, sigmoid: bool, sure: Tensor | None
) -> Tensor:
    """Answers that name what samples would be taken for.

    Args:
        shares (Tensor): What each would be taken for, ``(N, C)``; rows sum to 1.
        logits (Tensor): What a teacher says, ``(N, K)``; columns behind those of the classes stand
            for no object.
        forgotten (Tensor): Classes that are not to be named, int64.
        sigmoid (bool): Whether each column is a yes or no of its own.
        sure (Tensor | None): Probability that it is anything of the kind, ``(N,)``; None for heads
            that cannot say that there is nothing.

    Returns:
        Tensor: Logits, ``(N, K)``, float32; minus infinity in those of forgotten classes.
    """
    count = shares.shape[1]
    named = F.pad(shares.float(), (0, logits.shape[1] - count))
    if sure is not None:
        named = named * sure[:, None]
    if sigmoid:
        # What is said of all other classes stays: no answer is certain that one is not there.
        quiet = masked(logits, forgotten).sigmoid().clamp(max=QUIET)
        named = named.maximum(quiet).clamp(1e-6, 1 - 1e-6).logit()
    else:
        if sure is not None:
            named[:, count:] = logits[:, count:].float().softmax(1) * (1 - sure[:, None])
        named = named.clamp(min=1e-6).log()
    return named.index_fill(1, forgotten, float('-inf'))


def divergence(teacher: Tensor, student: Tensor, sigmoid: bool, temperature: float = 1.0) -> Tensor:
    r"""Kullback-Leibler divergence of a student's answers from a teacher's, by sample.

    .. math:: T^2 \, \mathrm{KL}(p_t^{1/T} \,\Vert\, p_s^{1/T})

    Args:
        teacher (Tensor): Logits, ``(N, K)``; minus infinity excludes a column.
        student (Tensor): Logits, ``(N, K)``.
        sigmoid (bool): Whether each column is a yes or no of its own; then it is summed over them.
        temperature (float): :math:`T`.

    Returns:
        Tensor: ``(N,)``, in nats times the squared temperature.
    """
    teacher, student = teacher.float() / temperature, student.float() / temperature
    if sigmoid:
        target = teacher.sigmoid()
        cross = F.binary_cross_entropy_with_logits(student, target, reduction='none')
        entropy = F.binary_cross_entropy(target, target, reduction='none')
        return temperature**2 * (cross - entropy).sum(1)
    target = teacher.softmax(1)
    found = F.kl_div(student.log_softmax(1), target, reduction='none')
    return temperature**2 * found.sum(1)


def kernel(left: Tensor, right: Tensor) -> Tensor:
    """The kernel of two sets of unit vectors, ``(..., N, D)`` and ``(..., M, D)``."""
    squares = (2 - 2 * left @ right.mT).clamp(min=0)
    return sum(torch.exp(-g / 2 * squares) for g in SHARPNESS)


def discrepancy(features: Tensor, members: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    r"""Squared maximum mean discrepancy of classes from mixtures of other features.

    .. math:: \mathrm{mean}_{i \ne j} \, k(x_i, x_j) - 2 \, \mathrm{mean}_i \, k(x_i, q)^T w

    for each class. The third term, :math:`w^T K_{qq} w`, has no gradient and is left out (Gretton
    et al., "A Kernel Two-Sample Test", 2012, the unbiased estimate). The first one keeps the
    samples of a class as far apart as those of the mixture are. To compare each with itself as
    well would weaken it by a third where a batch has three samples of a class, as that of a
    detector has, and draw the class into one point.

    Args:
        features (Tensor): Of all samples, ``(..., N, D)``; only their directions count.
        members (Tensor): 1 where a sample is of a class, else 0, ``(..., N, C)``.
        others (Tensor): Directions of other samples, unit vectors, ``(..., M, D)``.
        weights (Tensor): Share of each of them in the mixture for each class, ``(..., M, C)``.

    Returns:
        Tensor: ``(..., C)``, zero for a class without samples.
    """
    unit, count = F.normalize(features.float(), dim=-1), members.sum(-2)
    itself = torch.eye(unit.shape[-2], dtype=torch.bool, device=unit.device)
    near = kernel(unit, unit).masked_fill(itself, 0.0)
    within = (members * (near @ members)).sum(-2) / (count * (count - 1)).clamp(min=1)
    between = (members * (kernel(unit, others) @ weights)).sum(-2) / count.clamp(min=1)
    return within - 2 * between


def mixture(labels: Tensor, wanted: Tensor) -> Tensor:
    """Weights of entries with labels, so that each class has its wanted share.

    Args:
        labels (Tensor): Classes of the entries, -1 for none, ``(..., M)``.
        wanted (Tensor): Share of each column in each mixture, ``(..., C, K)``. What falls on
            columns without an entry is shared by the others; if all does, all entries count alike.

    Returns:
        Tensor: ``(..., M, C)``; columns sum to 1, or to 0 without any entry.
    """
    own = F.one_hot(labels.clamp(min=0), wanted.shape[-1]) * (labels >= 0)[..., None]
    own = own.to(wanted)  # (..., M, K)
    # A trace of all classes: the mixture is defined whatever the shares are.
    each = (wanted + 1e-6) / own.sum(-2).clamp(min=1)[..., None, :]
    weights = own @ each.mT
    return weights / weights.sum(-2, keepdim=True).clamp(min=1e-12)
