"""What the run was given."""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.datasets.role_counts import count_problems
from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.visualization.report.blocks import Block, Details, Paragraph, Table
from knowswap_mm.visualization.report.run_folder import RunFolder
from knowswap_mm.visualization.report.sections.section import Section


@REPORT_SECTIONS.register_module()
class Data(Section):
    """Training samples of each role and class, and what was left out."""

    name, title, order = 'data', 'What it was trained on', 55

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Warnings, a table by role, and one by class on demand."""
        counts = record.counts
        if not counts:
            return []
        try:
            problems = count_problems(counts)
            roles = [
                [
                    role,
                    found['samples'],
                    sum(1 for n in found['classes'].values() if n),
                    ', '.join(f'{n}: {why}' for why, n in found['left_out'].items()) or 'none',
                ]
                for role, found in counts.items()
            ]
            classes = [
                [name, role, found['available'].get(name), n]
                for role, found in counts.items()
                for name, n in found['classes'].items()
            ]
        except (AttributeError, KeyError, TypeError, ValueError):  # written by somebody else
            return []
        blocks: list[Block] = [Paragraph(problem, 'note') for problem in problems]
        header = ['role', 'training samples', 'classes with samples', 'left out']
        blocks.append(Table('Training samples by role', header, roles))
        header = ['class', 'role', 'samples in the data', 'drawn']
        table = Table('Training samples that hold each class', header, classes)
        return [*blocks, Details('Samples of every class', [table])]
