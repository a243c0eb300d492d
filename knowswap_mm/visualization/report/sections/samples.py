"""What the model said before and what it says now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.roles import FORGET, ROLES
from knowswap_mm.runs.files import IMAGES_FOLDER
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START
from knowswap_mm.schedule.phase import PHASE_KINDS
from knowswap_mm.visualization.report.blocks import Block, Details, Gallery, Paragraph, Section

_WANTED = (
    'Of these samples another answer is what was asked for: it is marked as forgotten, and the '
    'right class as still known.'
)


@REPORT_SECTIONS.register_module()
class Samples(Section):
    """A few validation samples of each role, before and after; between on demand."""

    name, title, order = 'samples', 'Samples', 25

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """A gallery for each role."""
        index = record.images
        if index is None:
            return []
        states = index['states']
        first, last = states[0], states[-1]
        shown = [('before' if first['state'] == START else first['state'], first)]
        if last is not first:
            shown.append(('after', last))
        roles = {sample['role'] for sample in index['samples']}
        blocks: list[Block] = []
        for role in ROLES:
            if role in roles:
                blocks.append(Paragraph(role, 'heading'))
                if role == FORGET and any(_to_be_forgotten(record, state) for _, state in shown):
                    blocks.append(Paragraph(_WANTED, 'note'))
                blocks.append(self._gallery(record, role, shown))
        if len(states) > 2:
            every = [(state['state'], state) for state in states]
            inner = [self._gallery(record, role, every) for role in ROLES if role in roles]
            blocks.append(Details('After each phase', inner))
        return blocks

    @staticmethod
    def _gallery(record: RunFolder, role: str, shown: list) -> Gallery:
        rows = [
            [
                ('truth', sample['truth']),
                *((name, _judged(record, role, state, number)) for name, state in shown),
            ]
            for number, sample in enumerate(record.images['samples'])
            if sample['role'] == role
        ]
        return Gallery(f'Samples of the role {role}', record.folder / IMAGES_FOLDER, rows)


def _to_be_forgotten(record: RunFolder, state: dict[str, Any]) -> bool:
    """Whether a forget loss had begun to act before a state."""
    begins = [each['begin'] for each in record.phases if FORGET in PHASE_KINDS[each['kind']]]
    return bool(begins) and state['iteration'] > min(begins)


def _judged(record: RunFolder, role: str, state: dict[str, Any], number: int) -> dict[str, Any]:
    """A prediction; of a forget sample that can be right or wrong also if it is ``forgotten``."""
    found = state['predictions'][number]
    asked = role == FORGET and type(found.get('right')) is bool and _to_be_forgotten(record, state)
    return dict(found, forgotten=not found['right']) if asked else found
