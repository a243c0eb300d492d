"""The result of an audit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from knowswap_mm.audit.statistics import Estimate, Verdict
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.runs.files import AUDIT_FILE, AUDIT_PAGE
from knowswap_mm.visualization.tables import markdown_table, table_cell


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


#: Name of the attack that only asks.
ANSWERS = 'answers'
_EXPLAINED = """\
Each attack has a number of which more means more knowledge of the forgotten classes, with its 95 %
interval. *Before* is the model before the swap; the *floor* is a model that never saw the classes
(the reference), or chance. **recovered**: surely more than the floor. **over-forgotten**: surely
less, which gives the classes away, too. **not recovered**: surely no more, up to a tenth of the
way from the floor to the model before. **unclear**: the interval allows both, or there is no
reference. **no power**: the attack cannot tell the model before the swap from the floor either, so
that its silence says nothing; or neither model relearned the classes within the limit of steps."""


@dataclass
class AuditReport:
    """Findings and tables of an audit.

    Attributes:
        findings (list[Finding]): What the attacks found.
        tables (list[Table]): What carries no verdict.
        about (dict): What was audited, with which settings.
    """

    findings: list[Finding]
    tables: list[Table]
    about: dict[str, Any]

    def attacks(self, *verdicts: Verdict) -> list[str]:
        """Names of the attacks with one of the verdicts."""
        return [finding.attack for finding in self.findings if finding.verdict in verdicts]

    def headline(self) -> str:
        """The overall verdict; nothing is called forgotten that an attack recovers."""
        # A wrong answer alone says nothing of what is known.
        withstood = [name for name in self.attacks(Verdict.NOT_RECOVERED) if name != ANSWERS]
        if recovered := self.attacks(Verdict.RECOVERED):
            text = f'Not forgotten: recovered by {"; ".join(recovered)}.'
        elif unclear := self.attacks(Verdict.UNCLEAR):
            text = f'Forgetting is not shown: undecided for {"; ".join(unclear)}.'
        elif not withstood:
            text = 'Forgetting is not shown: no attack behind the answers has decided.'
        else:
            text = 'Forgotten, as far as these attacks can tell.'
        if over := self.attacks(Verdict.OVER_FORGOTTEN):
            text += f' Over-forgotten, and thereby recognisable: {"; ".join(over)}.'
        if blind := self.attacks(Verdict.NO_POWER):
            text += f' Without power here: {"; ".join(blind)}.'
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(
            headline=self.headline(),
            about=self.about,
            findings=[finding.to_dict() for finding in self.findings],
            tables=[table.to_dict() for table in self.tables],
        )

    def page(self) -> str:
        """A readable page in Markdown."""
        header = ['attack', 'before', 'after', 'floor', 'verdict']
        rows = [[f.attack, f.before, f.after, f.floor, f'**{f.verdict}**'] for f in self.findings]
        parts = ['# Audit', f'**{self.headline()}**', _about(self.about), '## Attacks', _EXPLAINED]
        parts.append(markdown_table(header, rows))
        remarks = [f'- {f.attack}: {f.statistic}. {f.remark}'.rstrip() for f in self.findings]
        parts.append('\n'.join(remarks))
        for table in self.tables:
            cells = markdown_table(table.header, table.rows, escape=_cell)
            parts += [f'## {table.title}', table.text, cells]
        return '\n\n'.join(parts) + '\n'

    def write(self, folder: str | Path) -> Path:
        """Write the page and then, whole or not at all, the json, by which an audit is finished.

        The folder is made if need be; returns the page's path.
        """
        folder = Path(folder)
        page = folder / AUDIT_PAGE
        write_text(page, self.page())
        options = dict(indent=1, ensure_ascii=False, default=float)
        write_json(folder / AUDIT_FILE, _finite(self.to_dict()), **options)
        return page


def _finite(value: Any) -> Any:
    """Json has no infinity: an open end of an interval becomes null."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def _about(about: dict[str, Any]) -> str:
    lines = []
    for key, value in about.items():
        shown = ', '.join(map(str, value)) if isinstance(value, list) else value
        lines.append(f'- {key}: {shown if shown not in (None, "") else "none"}')
    return '\n'.join(lines)


def _cell(value: Any) -> str:
    return table_cell(f'{value:.3g}' if isinstance(value, float) else value)
