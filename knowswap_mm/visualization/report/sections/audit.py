"""Is it really gone?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.plots.recovery import plot_recovery
from knowswap_mm.visualization.report.blocks import (
    Block,
    Details,
    Figure,
    Paragraph,
    Section,
    Table,
)


@REPORT_SECTIONS.register_module()
class Audit(Section):
    """The audits in the folder of the run, with what they found."""

    name, title, order = 'audit', 'Audit', 40

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """For each audit its headline, the attacks, and the other tables on demand."""
        blocks: list[Block] = []
        for place, audit in record.audits.items():
            if len(record.audits) > 1:
                blocks.append(Paragraph(place, 'heading'))
            blocks.append(Paragraph(str(audit['headline'])))
            if audit.get('plain'):
                blocks.append(Paragraph(str(audit['plain'])))
            blocks += [Paragraph(str(each), 'note') for each in audit.get('warnings', ())]
            rows = [
                [
                    finding['attack'],
                    *(_estimate(finding.get(key)) for key in ('before', 'after', 'floor')),
                    finding['verdict'],
                ]
                for finding in audit.get('findings', ())
            ]
            caption = 'What each attack finds of the forgotten classes: more means more knowledge'
            header = ['attack', 'before', 'after', 'floor', 'verdict']
            blocks.append(Table(caption, header, rows))
            blocks += self._meanings(audit) + self._depth(audit, len(blocks))
            known = [audit['references']] if audit.get('references') else []
            for table in (*known, *audit.get('tables', ())):
                cells = [[_estimate(cell) for cell in row] for row in table['rows']]
                inner = Table(table['title'], table['header'], cells, digits=3)
                blocks.append(Details(table['title'], [Paragraph(table['text'], 'note'), inner]))
        return blocks

    @staticmethod
    def _meanings(audit: Mapping[str, Any]) -> list[Block]:
        rows = [
            [finding['attack'], finding['meaning'], finding.get('remark', '')]
            for finding in audit.get('findings', ())
            if finding.get('meaning')
        ]
        if not rows:
            return []
        header = ['attack', 'if it recovers something', 'remark']
        return [Details('What each attack would mean', [Table('In words', header, rows)])]

    @staticmethod
    def _depth(audit: Mapping[str, Any], number: int) -> list[Block]:
        curves = audit.get('curves') or []
        if not curves:
            return []
        names = ', '.join(str(curve['attack']) for curve in curves)
        alt = f'Share of the forgotten units recovered from each block to the head by: {names}.'
        caption = 'Before, after and references; what exceeds the references is memory.'
        plot = plot_recovery(curves)
        return [Figure(f'recovery-{number}', plot, alt, caption, dict(curves=curves))]


def _estimate(value: Any) -> Any:
    """A number with its interval, whose open ends are null in the json."""
    if not isinstance(value, dict):
        return value
    ends = ['?' if value.get(end) is None else f'{value[end]:.3f}' for end in ('low', 'high')]
    if ends[0] == ends[1] != '?':
        return f'{value["value"]:.3f}'
    return f'{value["value"]:.3f} [{ends[0]}, {ends[1]}]'
