"""What the swap was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.visualization.report.blocks import Block, Details, Table
from knowswap_mm.visualization.report.run_folder import RunFolder
from knowswap_mm.visualization.report.sections.section import Section


@REPORT_SECTIONS.register_module()
class Data(Section):
    """Images and objects by role and class, and what was left out for which reason."""

    name, title, order = 'data', 'Data', 27

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """A table of the roles, one of what is not used, and the classes on demand."""
        try:
            return self._tables(record) if record.data_counts else []
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            record.problems.append(f'the counts in run.json cannot be read ({error!r:.80})')
            return []

    @staticmethod
    def _tables(record: RunFolder) -> list[Block]:
        roles, reasons, classes = [], [], []
        for role, counts in record.data_counts.items():
            unit = counts['unit']
            used = sum(each[f'{unit}_used'] for each in counts['classes'].values())
            gone = sum(counts['left_out'].values())
            roles.append([role, counts['images'], counts['images_used'], gone, used, unit])
            reasons += [[role, f'images {why}', n] for why, n in counts['left_out'].items()]
            reasons += [[role, why, n] for why, n in counts['other'].items()]
            classes += [
                [name, role, *_class_row(each, unit)] for name, each in counts['classes'].items()
            ]
        header = ['role', 'images with it', 'used', 'left out', 'counted in them', 'what']
        blocks: list[Block] = [Table('Training data by role', header, roles)]
        if reasons:
            blocks.append(Table('Not used as it is', ['role', 'what', 'number'], reasons))
        header = ['class', 'role', 'images with it', 'used', 'counted in them', 'what']
        blocks.append(Details('By class', [Table('Training data by class', header, classes)]))
        return blocks


def _class_row(counts: dict[str, Any], unit: str) -> list[Any]:
    return [counts['images'], counts['images_used'], counts[f'{unit}_used'], unit]
