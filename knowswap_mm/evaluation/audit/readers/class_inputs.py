"""What the class layer of a head sees of a unit."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from knowswap_mm.errors import ConfigError

FEATURES = ('head', 'maps')
#: Queries that overlap a unit by this share of the best overlap count as well as the best one.
_ALMOST = 0.8


class LastCall:
    """Context manager that keeps what a module was last called with, and what it answered.

    Args:
        module (nn.Module): The module.

    Attributes:
        inputs (tuple): Positional arguments of the call.
        output: What it returned.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.inputs: tuple[Any, ...] = ()
        self.output: Any = None

    def __enter__(self) -> LastCall:
        self._handle = self.module.register_forward_hook(self._keep)
        return self

    def __exit__(self, *_: Any) -> None:
        self._handle.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.inputs, self.output = inputs, output


def queries_at(overlaps: Tensor, queries: Tensor) -> Tensor:
    """Embeddings of the queries that lie where the units are, whatever classes they answer.

    Several queries often lie on one unit almost equally well, and which of them is the best by a
    hair is chance: their mean is read. A unit that no query overlaps well is read from the one
    that overlaps it most, a unit that none overlaps from the mean of all.

    Args:
        overlaps (Tensor): Overlap of each unit with each query, from 0 to 1, ``(units, queries)``.
        queries (Tensor): ``(queries, channels)``.

    Returns:
        Tensor: ``(units, channels)``.
    """
    near = (overlaps >= _ALMOST * overlaps.amax(dim=1, keepdim=True)).to(queries)
    return near @ queries / near.sum(dim=1, keepdim=True)


def check_features(features: str) -> str:
    """The setting ``features`` of a reader.

    Raises:
        ConfigError: If it is unknown.
    """
    if features not in FEATURES:
        fix = f'use one of {FEATURES}'
        raise ConfigError('audit.reader.features', features, 'no place to read features', fix)
    return features
