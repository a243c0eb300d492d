"""Did it work?"""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.report.blocks import Banner, Block, Paragraph, Section
from knowswap_mm.visualization.report.outcome import CAVEAT, RULES, Outcome


@REPORT_SECTIONS.register_module()
class Answer(Section):
    """The verdict with the rules that it follows."""

    name, title, order = 'answer', 'Did it work?', 10

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Verdict, classes and rules."""
        outcome = Outcome.of(record)
        items = [*outcome.roles.values()]
        items += [(None, f'Audit: {audit["headline"]}') for audit in record.audits.values()]
        blocks: list[Block] = [Banner(outcome.word, outcome.headline, items)]
        for role, names in record.classes.items():
            if names:
                blocks.append(Paragraph(f'{role}: {_listed(names)}'))
        unit = f'Numbers are {record.results.primary} in percent of its best value.'
        blocks.append(
            Paragraph(f'{unit} {RULES} {"" if record.audits else CAVEAT}'.strip(), 'note')
        )
        return blocks


def _listed(names: Sequence[str], most: int = 20) -> str:
    shown = ', '.join(names[:most])
    return shown if len(names) <= most else f'{shown} and {len(names) - most} more'
