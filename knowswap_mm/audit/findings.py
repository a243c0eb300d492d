"""What the parts of an audit hand back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from knowswap_mm.audit.statistics import Estimate, Verdict

#: Name of the place behind all blocks in a curve: what the class layer sees.
HEAD = 'head'


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
        meaning (str): What it would mean if the attack recovered something, in a plain sentence.
    """

    attack: str
    statistic: str
    before: Estimate
    after: Estimate
    floor: Estimate | None
    verdict: Verdict
    remark: str = ''
    details: dict[str, Any] = field(default_factory=dict)
    meaning: str = ''

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


@dataclass
class DepthCurve:
    """What an attack reads at each place of the models, from the input to the head.

    It carries no verdict: with so many numbers one would seem remarkable by chance.

    Attributes:
        attack (str): Name of the attack.
        statistic (str): What was measured, in words.
        places (list[str]): Names of blocks or decoder layers, in their order; the last one is
            :data:`HEAD`.
        by_model (dict[str, list[Estimate]]): By model one number a place.
    """

    attack: str
    statistic: str
    places: list[str]
    by_model: dict[str, list[Estimate]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def gaps(self) -> list[float | None]:
        """By place, how much more the audited model gives than the mean of the references."""
        others = [v for name, v in self.by_model.items() if name.startswith('reference')]
        if not others:
            return [None] * len(self.places)
        floors = [sum(e.value for e in each) / len(others) for each in zip(*others, strict=True)]
        after = self.by_model['after']
        return [mine.value - floor for mine, floor in zip(after, floors, strict=True)]

    def table(self) -> Table:
        """Its numbers, without their intervals, which are in the json."""
        header = ['place', *self.by_model]
        rows: list[list[Any]] = [
            [place, *(values[number].value for values in self.by_model.values())]
            for number, place in enumerate(self.places)
        ]
        if any(name.startswith('reference') for name in self.by_model):
            header.append('after minus references')
            rows = [[*row, gap] for row, gap in zip(rows, self.gaps(), strict=True)]
        return Table(
            f'Over depth: {self.attack}', f'{self.statistic}, at each place.', header, rows
        )
