"""A model under audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from torch import nn

from knowswap_mm.evaluation.audit.audit_data import AuditData
from knowswap_mm.evaluation.audit.block_recorder import BlockRecorder
from knowswap_mm.evaluation.audit.readers import UnitReader
from knowswap_mm.evaluation.audit.units import Units


class Subject:
    """A plain host and what it makes of the data; everything is computed once.

    Args:
        host (nn.Module): A plain host with a row for every class of the swap.
        data (AuditData): The data.
        reader (UnitReader): The task.
        blocks (Sequence[str]): Names of the adapted blocks.
    """

    def __init__(
        self,
        host: nn.Module,
        data: AuditData,
        reader: UnitReader,
        blocks: Sequence[str] = (),
    ) -> None:
        self.host = host.eval()
        self.data, self.reader, self.blocks = data, reader, list(blocks)
        self._units: dict[tuple[str, str], Units] = {}
        self._remembered: dict[str, Any] = {}
        self._metrics: dict[str, float] | None = None

    def units(self, split: str, role: str) -> Units:
        """What the model makes of the chosen samples of a role."""
        if (split, role) not in self._units:
            self._units[split, role] = read_units(
                self.host, self.data, self.reader, split, role, self.blocks
            )
        return self._units[split, role]

    def remembered(self, key: str, measure: Callable[[], Any]) -> Any:
        """A measurement of this model; it is made once for each key.

        Args:
            key (str): Names the measurement and its settings.
            measure (Callable): Makes it.
        """
        if key not in self._remembered:
            self._remembered[key] = measure()
        return self._remembered[key]

    def metrics(self) -> dict[str, float]:
        """The host's metrics by role on the whole test data, with those of single classes."""
        if self._metrics is None:
            dataset = self.data.as_tested
            evaluator = Evaluator(dict(type='knowswap_mm.RoleMetric', **self._metric()))
            evaluator.dataset_meta = dataset.metainfo
            with torch.no_grad():
                for batch in self.data.load(dataset, self.data.metric_batch_size):
                    evaluator.process(self.host.test_step(batch), batch)
            self._metrics = evaluator.evaluate(len(dataset))
        return self._metrics

    def _metric(self) -> dict[str, Any]:
        reader = self.reader
        return dict(metric=reader.metric, primary=reader.primary, scale=reader.scale)


@torch.no_grad()
def read_units(
    host: nn.Module,
    data: AuditData,
    reader: UnitReader,
    split: str,
    role: str,
    blocks: Sequence[str] = (),
    at_most: int | None = None,
) -> Units:
    """Read the chosen samples of a role.

    Args:
        host (nn.Module): A plain host in evaluation mode.
        data (AuditData): The data.
        reader (UnitReader): The task.
        split (str): ``train`` or ``test``.
        role (str): The role.
        blocks (Sequence[str]): Blocks whose outputs are kept.
        at_most (int | None): Take fewer samples than the audit does.
    """
    own = data.labels(role)
    parts = []
    with BlockRecorder(host, blocks) as recorder:
        for batch in data.batches(split, data.positions(split, role)[:at_most]):
            units = reader.read(host, batch, own)
            units.blocks = recorder.take(len(batch['inputs']))
            parts.append(units)
    return Units.joined(parts)
