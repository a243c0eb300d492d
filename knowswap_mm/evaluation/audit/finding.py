"""What a part of the audit found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from knowswap_mm.evaluation.audit.estimate import Estimate
from knowswap_mm.evaluation.audit.verdict import Verdict


@dataclass
class Finding:
    """Result of one attack.

    Attributes:
        attack (str): Its name.
        statistic (str): What was measured, in words; more means more knowledge.
        before (Estimate): The model before the swap.
        after (Estimate): The audited model.
        floor (Estimate | None): Models that never saw the classes, or chance.
        verdict (Verdict): What follows.
        remark (str): What a reader must know beside the numbers.
        details (dict): Further numbers, for the json.
    """

    attack: str
    statistic: str
    before: Estimate
    after: Estimate
    floor: Estimate | None
    verdict: Verdict
    remark: str = ''
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(asdict(self), verdict=str(self.verdict))


@dataclass
class Table:
    """A table of the report that carries no verdict.

    Attributes:
        title (str): Heading.
        text (str): What it shows and how to read it.
        header (list[str]): Names of the columns.
        rows (list[list]): Cells: texts, numbers, estimates or None.
    """

    title: str
    text: str
    header: list[str]
    rows: list[list[Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        rows = [[asdict(c) if isinstance(c, Estimate) else c for c in row] for row in self.rows]
        return dict(title=self.title, text=self.text, header=self.header, rows=rows)
