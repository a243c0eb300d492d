"""The sum of the terms of a loss, on the device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.utils import is_list_of
from torch import Tensor


def parse_losses(losses: Mapping[str, Any]) -> tuple[Any, OrderedDict[str, Any]]:
    """What mmengine's ``BaseModel.parse_losses`` gives, bit by bit, without its needless kernels.

    That one takes the mean of every term and adds the first of them to zero. The terms of a swap
    are scalars already, and each kernel that does nothing costs a launch, and another one in the
    backward pass.

    Args:
        losses (Mapping): Tensors of any shape, or lists of them, by name.

    Returns:
        tuple[Tensor, OrderedDict]: The sum of those with ``loss`` in their name, and all terms as
        scalars by name, the sum under ``loss`` in front.

    Raises:
        TypeError: If a term is something else.
    """
    terms = []
    for name, value in losses.items():
        if isinstance(value, Tensor):
            terms.append((name, _mean(value)))
        elif is_list_of(value, Tensor):
            terms.append((name, _sum([_mean(part) for part in value])))
        else:
            raise TypeError(f'{name} is not a tensor or list of tensors')
    total = _sum([value for name, value in terms if 'loss' in name])
    return total, OrderedDict([('loss', total), *terms])


def spread_nonfinite(total: Tensor, terms: Mapping[str, Any]) -> Tensor:
    """Make all gradients NaN if a loss is not finite, and change nothing if all are.

    A loss that is not finite may leave gradients that look fine, e.g. above a bound. What this
    marks is seen by every process, since gradients are averaged over all of them.

    Args:
        total (Tensor): The loss to minimise, a scalar.
        terms (Mapping): All terms by name, scalars.

    Returns:
        Tensor: The loss, times one or NaN.
    """
    raw = [value.detach() for name, value in terms.items() if name.endswith('/raw')]
    seen = _sum([total.detach(), *raw])
    return total * (seen - seen + 1)


def _mean(value: Tensor) -> Tensor:
    if value.numel() != 1 or not value.is_floating_point():
        return value.mean()
    return value.reshape(()) if value.ndim else value


def _sum(values: Sequence[Any]) -> Any:
    return sum(values[1:], start=values[0]) if values else 0
