"""What the run was given."""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.datasets.role_counts import count_problems
from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.report.blocks import Block, Details, Paragraph, Section, Table


@REPORT_SECTIONS.register_module()
class Data(Section):
    """Training samples and objects of each role and class, and what was left out and why."""

    name, title, order = 'data', 'What it was trained on', 55

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Warnings, a table by role, one of what is not used, and the classes on demand."""
        try:
            return self._tables(record.counts) if record.counts else []
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            record.problems.append(f'the counts in run.json cannot be read ({error!r:.80})')
            return []

    @staticmethod
    def _tables(counts: dict[str, dict]) -> list[Block]:
        roles, reasons, classes = [], [], []
        for role, found in counts.items():
            objects, unit = found.get('objects', {}), found.get('unit', '')
            present = sum(1 for n in found['classes'].values() if n)
            total = f'{sum(objects.values())} {unit}' if objects else ''
            gone = sum(found['left_out'].values())
            roles.append([role, found['samples'], present, gone, total])
            if held := found.get('held_out'):
                reasons.append([role, 'samples held out of training, for the guard', held])
            reasons += [[role, f'images {why}', n] for why, n in found['left_out'].items()]
            reasons += [[role, why, n] for why, n in found.get('other', {}).items()]
            for name, drawn in found['classes'].items():
                each = f'{objects[name]} {unit}' if name in objects else ''
                classes.append([name, role, found['available'].get(name), drawn, each])
        blocks: list[Block] = [Paragraph(text, 'note') for text in count_problems(counts)]
        header = ['role', 'training samples', 'classes with samples', 'images left out', 'in them']
        blocks.append(Table('Training data by role', header, roles))
        if reasons:
            blocks.append(Table('Not used as it is', ['role', 'what', 'number'], reasons))
        header = ['class', 'role', 'samples in the data', 'drawn', 'in them']
        table = Table('Training samples that hold each class', header, classes)
        return [*blocks, Details('Samples of every class', [table])]
