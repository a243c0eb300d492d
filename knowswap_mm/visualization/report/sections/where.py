"""What changed where?"""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.roles import ROLES
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.plots import plot_blocks, plot_similarity
from knowswap_mm.visualization.plots.depth import depth, mean_gradient, relative_change
from knowswap_mm.visualization.report.blocks import (
    Block,
    Details,
    Figure,
    Paragraph,
    Section,
    Table,
)

#: Title of the audit's table.
SIMILARITY = 'Representation similarity'
_TEXT = (
    'Gradient: mean over all steps of a phase of the norm of the gradient of the LoRA matrices of '
    'a block. Change: norm of what the phase added to the weights of a block, in percent of their '
    'norm. Depth: the centre of either over the blocks; 0 is the first block, 1 the last.'
)


@REPORT_SECTIONS.register_module()
class Where(Section):
    """Gradients and changes by transformer block."""

    name, title, order = 'where', 'Where it changed', 50

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Plots and numbers, of what was watched and of what an audit found."""
        return [*self._profile(record), *self._similarity(record)]

    @staticmethod
    def _profile(record: RunFolder) -> list[Block]:
        profile = record.profile
        if profile is None:
            return []
        names, weight, phases = profile['blocks'], profile['weight'], profile['phases']
        changes = {phase['name']: relative_change(phase, weight)[-1] for phase in phases}
        depths = [
            [phase['name'], depth(mean_gradient(phase, 'share')), depth(changes[phase['name']])]
            for phase in phases
        ]
        words = '; '.join(f'{name}: gradient {g:.2f}, change {c:.2f}' for name, g, c in depths)
        alt = f'Gradient norm and change of weights over {len(names)} blocks. Depth: {words}.'
        rows = []
        for number, name in enumerate(names):
            row = [f'{number + 1} {name}']
            for phase in phases:
                change = 100 * float(changes[phase['name']][number])
                row += [mean_gradient(phase)[number], change, phase['update'][-1][number]]
            rows.append(row)
        header = ['block']
        for phase in phases:
            header += [f'{phase["name"]}: gradient', 'change, %', 'norm of BA']
        return [
            Figure('blocks', plot_blocks(profile), alt),
            Table('Depth of each phase', ['phase', 'gradient', 'change'], depths, digits=2),
            Paragraph(_TEXT, 'note'),
            Details('Every block', [Table('By block and phase', header, rows, digits=3)]),
        ]

    @staticmethod
    def _similarity(record: RunFolder) -> list[Block]:
        blocks: list[Block] = []
        for number, (place, audit) in enumerate(record.audits.items()):
            for table in audit.get('tables', ()):
                if table['title'] != SIMILARITY or not table['rows']:
                    continue
                # The columns are named `<model>, <role>`; the audited model comes first.
                titles = table['header'][1:]
                model = titles[0].rpartition(', ')[0]
                columns = {
                    role: [row[titles.index(f'{model}, {role}') + 1] for row in table['rows']]
                    for role in ROLES
                    if f'{model}, {role}' in titles
                }
                plot = plot_similarity([str(row[0]) for row in table['rows']], columns)
                low = {r: min(v for v in c if v is not None) for r, c in columns.items() if any(c)}
                words = ', '.join(f'{role} {value:.2f}' for role, value in low.items())
                alt = f'Alignment of each block with itself before the swap. Lowest: {words}.'
                caption = f'{place}: 1 means the geometry before the swap, 0 nothing of it.'
                blocks.append(Figure(f'similarity-{number}', plot, alt, caption))
        return blocks
