"""How a task reads units off a host."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from knowswap_mm.evaluation.audit.units import Units


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

    @abstractmethod
    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read a batch.

        Args:
            host (nn.Module): A plain host in evaluation mode.
            batch (dict): Lists ``inputs`` and ``data_samples``.
            own (set[int]): Labels of the role; units of other classes are left out.
        """


@contextmanager
def training_flag(host: nn.Module) -> Iterator[None]:
    """Let ``host.loss`` run as in training, while dropout and norms stay in evaluation mode.

    Detectors prepare the inputs of their losses only if the flag of the model itself is set. Random
    points and queries are the same each time.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        host.training = True
        try:
            yield
        finally:
            host.training = False
