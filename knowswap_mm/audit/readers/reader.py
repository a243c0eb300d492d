"""How a task reads units off a host."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from knowswap_mm.audit.findings import HEAD
from knowswap_mm.errors import ConfigError


@dataclass
class Units:
    """Features and answers by unit: an image, an object or the region of a class in an image.

    Attributes:
        features (np.ndarray): What the classifier of the host sees, or features pooled over the
            unit, ``(units, channels)``.
        labels (np.ndarray): True labels, ``(units,)``.
        predicted (np.ndarray): Predicted labels; the number of classes stands for "nothing".
        losses (np.ndarray): The host's loss by sample, ``(samples,)``.
        logits (np.ndarray | None): ``(units, classes)``, where a unit is a whole sample.
        blocks (dict[str, np.ndarray]): Output of each adapted block, averaged over its positions,
            ``(samples, channels)``.
        layers (dict[str, np.ndarray]): Features of the units at places before the class layer, from
            the input on, each ``(units, channels)``.
    """

    features: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray
    logits: np.ndarray | None = None
    blocks: dict[str, np.ndarray] = field(default_factory=dict)
    layers: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def right(self) -> np.ndarray:
        """Whether each unit was recognised."""
        return self.labels == self.predicted

    @classmethod
    def joined(cls, parts: Sequence[Units]) -> Units:
        """Those of several batches, in their order."""
        first = parts[0]
        names = ['features', 'labels', 'predicted', 'losses']
        names += [] if first.logits is None else ['logits']
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        blocks = {n: np.concatenate([part.blocks[n] for part in parts]) for n in first.blocks}
        layers = {n: np.concatenate([part.layers[n] for part in parts]) for n in first.layers}
        return cls(**arrays, blocks=blocks, layers=layers)

    def at(self, place: str) -> np.ndarray:
        """Features at a place: one of ``layers``, or :data:`HEAD`."""
        return self.features if place == HEAD else self.layers[place]


FEATURES = ('head', 'maps')
#: True and predicted labels of units, ``(units,)`` each.
Answers = tuple[np.ndarray, np.ndarray]


class LastCall:
    """Context manager that keeps positional ``inputs`` and ``output`` of a module's last call."""

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


def check_features(features: str) -> str:
    """The setting ``features`` of a reader.

    Raises:
        ConfigError: If it is unknown.
    """
    if features not in FEATURES:
        fix = f'use one of {FEATURES}'
        raise ConfigError('audit.reader.features', features, 'no place to read features', fix)
    return features


def of_one_size(batch: Mapping[str, Sequence[Any]]) -> list[dict[str, list[Any]]]:
    """The parts of a batch whose images have one size, so that none is padded for another."""
    parts: dict[tuple[int, ...], dict[str, list[Any]]] = {}
    for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
        part = parts.setdefault(tuple(image.shape), dict(inputs=[], data_samples=[]))
        part['inputs'].append(image)
        part['data_samples'].append(sample)
    return list(parts.values())


class UnitReader(metaclass=ABCMeta):
    """Turns a batch into :class:`Units`; the only part of an audit that knows the task.

    Attributes:
        unit (str): What a unit is, in words.
        metric (list[dict]): Host metrics by role, with the values of single classes.
        primary (str): The metric of the tables.
        scale (float): Best possible value of it.
        class_metric (str): Name of the value of a class, with ``{}`` for the class.
        batch_size (int | None): Samples a batch, where the task prescribes it.
    """

    unit: str
    metric: list[dict[str, Any]]
    primary: str
    scale: float
    class_metric: str
    batch_size: int | None = None

    def pipeline(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The test pipeline with what the audit needs: annotations without augmentation."""
        return steps

    def at_block(self, host: nn.Module) -> Callable[[Tensor], Tensor] | None:
        """How the output of a block of the host is read at each unit, ``(units, channels)``.

        None if units have no place of their own there.
        """
        return None

    def class_layers(self, host: nn.Module) -> Mapping[str, str]:
        """Full names of the class layers of a host whose input at a unit is read.

        By name the place of that input, see :meth:`Units.at`; empty if it is not read.
        """
        return {}

    @abstractmethod
    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read a batch.

        Args:
            host (nn.Module): A plain host in evaluation mode.
            batch (dict): Lists ``inputs`` and ``data_samples``.
            own (set[int]): Labels of the role; units of other classes are left out.
        """

    def answers(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Answers:
        """True and predicted labels of the units of a batch alone, in any order.

        A task that reads one sample at a time, or whose losses take a pass of their own, is quicker
        here.
        """
        units = self.read(host, batch, own)
        return units.labels, units.predicted
