"""The class-indexed tensors of a host: found by construction, never by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class ClassTensor:
    """A tensor with one row a class.

    Attributes:
        name (str): Full name in the host.
        tail (int): Rows behind the class rows (Mask2Former's no-object row).
    """

    name: str
    tail: int


class ClassRows:
    """Knows which tensors of a host are indexed by class, and grows them.

    A twin of the host with one class more is built; the tensors whose first dimension differs are
    the class-indexed ones. That covers linear heads, embeddings of labels and convolutions alike.

    Args:
        host (nn.Module): The host, built from ``host_config`` and without adapters.
        host_config (dict): Its config.
        old_classes (int | None): Number of classes that the pretrained weights know; None if the
            host has no new classes.
        count_keys (Sequence[str]): Config keys that hold the number of classes.

    Raises:
        ConfigError: If the number of classes cannot be read from the config.
    """

    def __init__(
        self,
        host: nn.Module,
        host_config: dict[str, Any],
        old_classes: int | None = None,
        count_keys: Sequence[str] = ('num_classes',),
    ) -> None:
        counts = {value for key, value in _walk(host_config) if key in count_keys and value}
        if len(counts) != 1:
            fix = 'give every head of model.host the same number of classes (old and new ones)'
            problem = f'one number of classes is needed under {list(count_keys)}'
            raise ConfigError('model.host', sorted(counts), problem, fix)
        self.total: int = counts.pop()
        self.old = self.total if old_classes is None else old_classes
        if type(self.old) is not int or not 0 < self.old <= self.total:
            fix = f'use a number from 1 to {self.total}, the classes of model.host'
            raise ConfigError('model.head.old_classes', old_classes, 'does not fit the host', fix)
        self.tensors = tuple(self._find(host, host_config, count_keys))
        self._check_weights(host_config)

    def _find(
        self, host: nn.Module, config: dict[str, Any], count_keys: Sequence[str]
    ) -> Iterator[ClassTensor]:
        twin_config = copy.deepcopy(config)
        replace_counts(twin_config, count_keys, self.total, self.total + 1)
        with torch.random.fork_rng(devices=[]):
            twin = MODELS.build(twin_config).state_dict()
        for name, tensor in host.state_dict().items():
            if tensor.shape != twin[name].shape:
                yield ClassTensor(name, tail=tensor.shape[0] - self.total)

    def _check_weights(self, config: dict[str, Any]) -> None:
        lengths = {self.total + tensor.tail for tensor in self.tensors}
        for key, value in _walk(config, kinds=(list, tuple)):
            if (
                key == 'class_weight'
                and value is not None
                and lengths
                and len(value) not in lengths
            ):
                fix = f'give {sorted(lengths)[0]} weights: old classes, new ones, then the rest'
                problem = f'{len(value)} weights do not fit the enlarged head'
                raise ConfigError('model.host class_weight', list(value)[:4], problem, fix)

    @torch.no_grad()
    def initialise(self, host: nn.Module, how: str) -> None:
        """Initialise the new rows.

        Args:
            host (nn.Module): The host.
            how (str): ``host`` keeps what the host's own initialisation gave; ``xavier`` draws
                matrices from Xavier-uniform over the new rows alone and zeroes vectors, as the
                official classifier does; ``zeros``.

        Raises:
            ConfigError: If ``how`` is unknown.
        """
        if how not in ('host', 'xavier', 'zeros'):
            fix = "use 'host', 'xavier' or 'zeros'"
            raise ConfigError('model.head.new_rows_init', how, 'unknown initialisation', fix)
        state = host.state_dict()
        for tensor in self.tensors if self.old < self.total else ():
            rows = state[tensor.name][self.old : self.total]
            if how == 'xavier' and rows.dim() > 1:
                nn.init.xavier_uniform_(rows)
            elif how != 'host':
                rows.zero_()

    def grow(self, key: str, loaded: Tensor, current: Tensor, tail: int) -> Tensor:
        """Fit a loaded class-indexed tensor to the enlarged host.

        Args:
            key (str): Its key, for messages.
            loaded (Tensor): Tensor of the checkpoint, with the old or with all classes.
            current (Tensor): Tensor of the model; its new rows are kept.
            tail (int): Rows behind the class rows.

        Returns:
            Tensor: All rows: old ones loaded, new ones current, tail loaded.

        Raises:
            CheckpointError: If the checkpoint has another number of classes.
        """
        if loaded.shape == current.shape:
            return loaded
        rows = loaded.shape[0] if loaded.ndim else 0
        if loaded.shape[1:] != current.shape[1:] or rows != self.old + tail:
            raise CheckpointError(
                f'The checkpoint has {key} of shape {tuple(loaded.shape)}, the model '
                f'{tuple(current.shape)} with model.head.old_classes = {self.old}. Fix: set '
                f'model.head.old_classes to the classes of the checkpoint '
                f'({rows - tail}) and the number of classes of model.host to old + new.'
            )
        grown = current.detach().clone()
        grown[: self.old] = loaded[: self.old]
        if tail:
            grown[self.total :] = loaded[self.old :]
        return grown


def _walk(config: Any, kinds: type | tuple[type, ...] = int) -> Iterator[tuple[str, Any]]:
    if isinstance(config, dict):
        for key, value in config.items():
            yield key, value if isinstance(value, kinds) else None
            yield from _walk(value, kinds)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _walk(value, kinds)


def replace_counts(config: Any, keys: Sequence[str], old: int, new: int) -> None:
    """Change a number of classes in a config, in place, wherever one of the keys has it."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key in keys and value == old:
                config[key] = new
            else:
                replace_counts(value, keys, old, new)
    elif isinstance(config, (list, tuple)):
        for value in config:
            replace_counts(value, keys, old, new)
