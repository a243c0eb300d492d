"""Tells whether weights already contain the LoRA matrices that stand beside them.

loralib merges ``B A`` into the weights when a model goes into evaluation mode, and writes the two
matrices all the same; nothing in the file says which of both it is. In all functions ``matrices``
are what :func:`split_lora` gave, ``alpha`` is the numerator of the scale of LoRA, which such files
do not tell, and other weights are under a host's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError

Matrices = dict[str, tuple[Tensor, Tensor]]


def split_lora(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Matrices]:
    """Take ``<layer>.lora_A`` and ``<layer>.lora_B`` out of converted weights.

    Returns:
        tuple: The other weights, and ``(A, B)`` of shapes ``(r, in)`` and ``(out, r)`` by layer.

    Raises:
        CheckpointError: If one of a pair is missing, or they do not fit together.
    """
    base = {key: value for key, value in state.items() if '.lora_' not in key}
    names = sorted({key.rsplit('.lora_', 1)[0] for key in state if '.lora_' in key})
    matrices: Matrices = {}
    for name in names:
        a, b = state.get(f'{name}.lora_A'), state.get(f'{name}.lora_B')
        weight = base.get(f'{name}.weight')
        if a is None or b is None or weight is None:
            raise CheckpointError(f'{name} has not all of weight, lora_A and lora_B.')
        if b.shape[1] != a.shape[0] or weight.shape != (b.shape[0], a.shape[1]):
            shapes = [tuple(tensor.shape) for tensor in (weight, a, b)]
            raise CheckpointError(f'{name}: weight, lora_A and lora_B do not fit: {shapes}.')
        matrices[name] = (a, b)
    return base, matrices


def merge_lora(base: Mapping[str, Tensor], matrices: Matrices, alpha: float) -> dict[str, Tensor]:
    """Add ``alpha / r * B A`` to the weights."""
    merged = dict(base)
    for name, pair in matrices.items():
        weight = base[f'{name}.weight']
        merged[f'{name}.weight'] = (weight.double() + _change(pair, alpha)).to(weight.dtype)
    return merged


def subtract_lora(
    weights: Mapping[str, Tensor], matrices: Matrices, alpha: float
) -> dict[str, Tensor]:
    """The weights before LoRA, from merged ones."""
    return merge_lora(weights, matrices, -alpha)


@torch.no_grad()
def fill_adapters(swapper: nn.Module, matrices: Matrices) -> None:
    """Write LoRA matrices into the adapters of a :class:`KnowledgeSwapper`.

    Raises:
        CheckpointError: If the swapper has other adapters.
    """
    wanted = {}
    for name, parameter in swapper.adapters.items():
        linear, which = name.split('.lora_')
        wanted.setdefault(linear, {})[which[0]] = parameter
    different = sorted(set(wanted) ^ set(matrices))
    if different:
        raise CheckpointError(
            f'The file and the config have different adapters: {different[:4]}. Fix: set '
            'model.lora.targets to the linear layers of the file.'
        )
    for name, (a, b) in matrices.items():
        for which, tensor in (('A', a), ('B', b)):
            parameter = wanted[name][which]
            if parameter.shape != tensor.shape:
                shapes = f'{tuple(tensor.shape)} instead of {tuple(parameter.shape)}'
                raise CheckpointError(f'{name}.lora_{which} has shape {shapes}: another rank.')
            parameter.copy_(tensor)


#: Layers that are looked at; those that LoRA changed most.
_LAYERS = 8
_ROUNDS = 4


@dataclass(frozen=True)
class Contained:
    """How much of the change by LoRA is in the weights.

    Attributes:
        share (float): 0 if the weights are those before LoRA, 1 if the change was added once.
        error (float): Standard error of the share; 0 if it was compared with the base.
    """

    share: float
    error: float

    @property
    def merged(self) -> bool | None:
        """Whether the change is in the weights; None if the numbers do not tell."""
        unclear = self.error > 0.2 or abs(self.share - 0.5) < 0.15
        return None if unclear else self.share > 0.5


def compare_with_base(
    weights: Mapping[str, Tensor], matrices: Matrices, alpha: float, base: Mapping[str, Tensor]
) -> Contained | None:
    """Compare with ``base``, with which the training of LoRA began: an exact answer.

    Returns:
        Contained | None: The share, 0 or 1 but for rounding; None if LoRA changes nothing.

    Raises:
        CheckpointError: If the base is another one, or the weights contain something else than
            nothing or the whole change.
    """
    dot = square = rest = 0.0
    for name in matrices:
        change = _change(matrices[name], alpha)
        before = base.get(f'{name}.weight')
        if before is None or before.shape != change.shape:
            raise CheckpointError(f'The base has no {name}.weight of shape {tuple(change.shape)}.')
        apart = weights[f'{name}.weight'].double() - before.double()
        dot += float((apart * change).sum())
        square += float(change.square().sum())
        rest += float(apart.square().sum())
    if not square:
        return None
    share = dot / square
    if rest - share * dot > 0.1 * square:
        raise CheckpointError(
            'The weights differ from the base by more than LoRA. Fix: give as --base the file with '
            'which the training of LoRA began.'
        )
    if min(abs(share), abs(share - 1)) > 0.02:
        raise CheckpointError(
            f'The weights contain {share:.3g} times the change by LoRA with --alpha {alpha:g}. '
            f'Fix: give --alpha {share * alpha:.3g}, if they were saved merged.'
        )
    return Contained(share, 0.0)


def estimate_contained(
    weights: Mapping[str, Tensor], matrices: Matrices, alpha: float
) -> Contained | None:
    """Estimate the share from the file alone.

    Before LoRA the rows of a weight have no reason to lie along ``B A``, measured against how much
    they vary in its directions anyway. So the share that makes the rest look most like noise of
    its own covariance (generalised least squares, in some rounds) is near 0 or near 1.

    Returns:
        Contained | None: The share with its standard error; None if LoRA changes nothing.
    """
    sizes = {
        name: _size(matrices[name]) / max(float(weights[f'{name}.weight'].norm()), 1e-30)
        for name in matrices
    }
    chosen = sorted((name for name in sizes if sizes[name]), key=sizes.get)[-_LAYERS:]
    if not chosen:
        return None
    parts = [
        _products(weights[f'{name}.weight'].double(), matrices[name], alpha) for name in chosen
    ]
    share = 0.0
    for _ in range(_ROUNDS):
        dot = square = 0.0
        for count, gram, cross, own in parts:
            covariance = (gram - share * (cross + cross.T) + share**2 * own) / count
            covariance.diagonal().add_(1e-4 * covariance.diagonal().mean())
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
            dot += float((inverse * cross).sum())
            square += float((inverse * own).sum())
        share = dot / square
    return Contained(share, square**-0.5)


def _products(weight: Tensor, pair: tuple[Tensor, Tensor], alpha: float) -> tuple:
    """Rows, ``W' W``, ``W' C`` and ``C' C`` of a weight and its change ``C``, both as tall."""
    a, b = (matrix.double() for matrix in pair)
    left, right = alpha / len(a) * b, a
    if len(weight) < weight.shape[1]:
        # The longer side of a matrix gives the samples of the covariance of the shorter one.
        weight, left, right = weight.T, alpha / len(a) * a.T, b.T
    own = right.T @ (left.T @ left) @ right
    return len(weight), weight.T @ weight, (weight.T @ left) @ right, own


def _change(pair: tuple[Tensor, Tensor], alpha: float) -> Tensor:
    a, b = pair
    return alpha / a.shape[0] * (b.double() @ a.double())


def _size(pair: tuple[Tensor, Tensor]) -> float:
    """Frobenius norm of ``B A``, from products of the size of the rank."""
    a, b = (matrix.double() for matrix in pair)
    return max(float(((a @ a.T) * (b.T @ b)).sum()), 0.0) ** 0.5
