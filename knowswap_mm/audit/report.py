"""The result of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowswap_mm.audit.findings import DepthCurve, Finding, Table
from knowswap_mm.audit.statistics import Estimate, Verdict
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.runs.files import AUDIT_FILE, AUDIT_PAGE, AUDIT_PLOT
from knowswap_mm.visualization.plots.recovery import plot_recovery
from knowswap_mm.visualization.plots.style import write_figure
from knowswap_mm.visualization.tables import markdown_table, table_cell

#: Name of the attack that only asks.
ANSWERS = 'answers'
_EXPLAINED = """\
Each attack has a number of which more means more knowledge of the forgotten classes, with its 95 %
interval. *Before* is the model before the swap; the *floor* is a model that never saw the classes
(the reference), or chance. **recovered**: surely more than the floor. **over-forgotten**: surely
less, which gives the classes away, too. **recognisable**: surely unlike the references, but not by
naming the classes. **not recovered**: surely no more, up to a tenth of the way from the floor to
the model before. **unclear**: the interval allows both, or there is no sound reference. **no
power**: the attack cannot tell the model before the swap from the floor either, so that its silence
says nothing; or neither model relearned the classes within the limit of steps."""


@dataclass
class AuditReport:
    """Findings and tables of an audit.

    Attributes:
        findings (list[Finding]): What the attacks found.
        tables (list[Table]): What carries no verdict.
        about (dict): What was audited, with which settings.
        curves (list[DepthCurve]): What the probes read at each place of the models.
        references (Table | None): What is known of the references; None without one.
        warnings (list[str]): What a reader should know before all numbers.
    """

    findings: list[Finding]
    tables: list[Table]
    about: dict[str, Any]
    curves: list[DepthCurve] = field(default_factory=list)
    references: Table | None = None
    warnings: list[str] = field(default_factory=list)

    def attacks(self, *verdicts: Verdict) -> list[str]:
        """Names of the attacks with one of the verdicts."""
        return [finding.attack for finding in self.findings if finding.verdict in verdicts]

    def headline(self) -> str:
        """The overall verdict; nothing is called forgotten that an attack recovers."""
        # A wrong answer alone says nothing of what is known.
        withstood = [name for name in self.attacks(Verdict.NOT_RECOVERED) if name != ANSWERS]
        if recovered := self.attacks(Verdict.RECOVERED):
            text = f'Not forgotten: recovered by {_listed(recovered)}.'
        elif unclear := self.attacks(Verdict.UNCLEAR):
            text = f'Forgetting is not shown: undecided for {_listed(unclear)}.'
        elif not withstood:
            text = 'Forgetting is not shown: no attack behind the answers has decided.'
        else:
            text = 'Forgotten, as far as these attacks can tell.'
        if over := self.attacks(Verdict.OVER_FORGOTTEN):
            text += f' Over-forgotten, and thereby recognisable: {_listed(over)}.'
        if unlike := self.attacks(Verdict.RECOGNISABLE):
            text += f' Recognisable beside models that never saw the classes: {_listed(unlike)}.'
        if blind := self.attacks(Verdict.NO_POWER):
            text += f' Without power here: {_listed(blind)}.'
        return text

    def plain(self) -> str:
        """What the headline means, for who does not know the attacks."""
        text = ''
        for finding in self.findings:
            if finding.attack == ANSWERS:
                text = (
                    f'Asked directly, the model names {_percent(finding.after)} of what it was to '
                    f'forget (before: {_percent(finding.before)}). '
                )
        recovered = [f for f in self.findings if f.verdict is Verdict.RECOVERED and f.meaning]
        if recovered:
            worst = max(recovered, key=_excess)
            numbers = ''
            if worst.statistic.startswith('share') and worst.floor is not None:
                numbers = (
                    f' ({_percent(worst.after)}; a model that never knew them: '
                    f'{_percent(worst.floor)})'
                )
            return (
                f'{text}But the knowledge is still there: {worst.meaning}{numbers}. Do not call '
                'these classes erased.'
            )
        if self.attacks(Verdict.UNCLEAR) or not self.attacks(Verdict.NOT_RECOVERED):
            return f'{text}Whether the knowledge behind the answers is gone, this audit cannot say.'
        return f'{text}No attack of this audit got the classes back; stronger ones may exist.'

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(
            headline=self.headline(),
            plain=self.plain(),
            warnings=self.warnings,
            about=self.about,
            references=None if self.references is None else self.references.to_dict(),
            findings=[finding.to_dict() for finding in self.findings],
            curves=[curve.to_dict() for curve in self.curves],
            tables=[table.to_dict() for table in self.tables],
        )

    def page(self, plot: str = '') -> str:
        """A readable page in Markdown, with the name of the file of the plot, if there is one."""
        header = ['attack', 'before', 'after', 'floor', 'verdict']
        rows = [[f.attack, f.before, f.after, f.floor, f'**{f.verdict}**'] for f in self.findings]
        parts = ['# Audit', f'**{self.headline()}**', self.plain()]
        parts += [f'**Mind:** {warning}' for warning in self.warnings]
        parts += [_about(self.about), '## Attacks', _EXPLAINED, markdown_table(header, rows)]
        parts.append('\n'.join(map(_in_words, self.findings)))
        if plot:
            text = 'Before, after and references from the first block to the head; bands: 95 %.'
            parts += ['## Recovery over depth', f'![{text}]({plot})', text]
        tables = [] if self.references is None else [self.references]
        for table in (*tables, *self.tables, *(curve.table() for curve in self.curves)):
            cells = markdown_table(table.header, table.rows, escape=_cell)
            parts += [f'## {table.title}', table.text, cells]
        return '\n\n'.join(parts) + '\n'

    def write(self, folder: str | Path) -> Path:
        """Write plot, page and then, whole or not at all, the json, by which an audit is finished.

        Without matplotlib there is no plot; its numbers are in page and json. The folder is made if
        need be; returns the page's path.
        """
        folder = Path(folder)
        page = folder / AUDIT_PAGE
        write_text(page, self.page(AUDIT_PLOT if self._drawn(folder / AUDIT_PLOT) else ''))
        options = dict(indent=1, ensure_ascii=False, default=float)
        write_json(folder / AUDIT_FILE, _finite(self.to_dict()), **options)
        return page

    def _drawn(self, path: Path) -> bool:
        """Whether there were curves, and now is a plot of them."""
        if not self.curves:
            return False
        try:
            figure = plot_recovery([curve.to_dict() for curve in self.curves])
        except ImportError:
            return False
        write_figure(path, figure)
        return True


def _listed(names: list[str]) -> str:
    """Names of attacks, those of one kind together: ``probe (1 shot, 5 shots)``."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind, _, variant = name.partition(', ')
        kinds.setdefault(kind, []).append(variant)
    return '; '.join(
        f'{kind} ({", ".join(each)})' if any(each) else kind for kind, each in kinds.items()
    )


def _percent(estimate: Estimate) -> str:
    return f'{100 * estimate.value:.1f} %'


def _excess(finding: Finding) -> float:
    """How far above the floor a finding is, in parts of its scale."""
    floor = 0.0 if finding.floor is None else finding.floor.value
    return (finding.after.value - floor) / max(abs(finding.before.value - floor), 1e-6)


def _in_words(finding: Finding) -> str:
    text = f'- **{finding.attack}**: {finding.statistic}.'
    if finding.meaning:
        text += f' If it recovers something: {finding.meaning}.'
    return f'{text} {finding.remark}'.rstrip()


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
