"""Did it work?"""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.outcome import CAVEAT, RULES
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.story import Story
from knowswap_mm.visualization.report.blocks import (
    Banner,
    Block,
    Bullets,
    Paragraph,
    Section,
)


@REPORT_SECTIONS.register_module()
class Answer(Section):
    """The verdict, what happened and what to change, and the rules of the verdict."""

    name, title, order = 'answer', 'Did it work?', 10

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Verdict, what to change, what happened, classes, rules."""
        story = Story.of(record)
        outcome = story.outcome
        items: list[tuple[str | None, str]] = [*outcome.roles.values()]
        items += [(None, f'Audit: {audit["headline"]}') for audit in record.audits.values()]
        blocks: list[Block] = [Banner(outcome.word, outcome.headline, items)]
        for label, texts in (('What to change', story.changes), ('What happened', story.events)):
            if texts:
                blocks += [Paragraph(label, 'heading'), Bullets(label, texts)]
        blocks.append(Paragraph('The classes', 'heading'))
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
