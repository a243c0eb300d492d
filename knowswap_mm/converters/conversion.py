"""What a conversion made and what it left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from knowswap_mm.errors import CheckpointError

#: Ids that COCO gives its 80 categories: the rows of a head that uses raw ids as labels.
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
_CLASS_KEYS = re.compile(
    r'(.*\.)?(cls_branches\.\d+|cls_embed|label_embedding|head\.layers\.head)\.(weight|bias)'
)


def parse_rows(text: str) -> list[int]:
    """Read a list of rows.

    Args:
        text (str): Numbers and ranges, ``0-155,160``; ``coco`` stands for the ids of the 80 COCO
            categories.

    Raises:
        ValueError: If it is no such list, or names a row twice.
    """
    rows: list[int] = []
    for part in text.split(','):
        if part == 'coco':
            rows.extend(COCO_IDS)
            continue
        found = re.fullmatch(r'(\d+)(?:-(\d+))?', part.strip())
        if not found:
            raise ValueError(f'{part!r} is no row, no range and not coco. Fix: e.g. coco,91-95')
        rows.extend(range(int(found[1]), int(found[2] or found[1]) + 1))
    if len(set(rows)) < len(rows):
        raise ValueError(f'{text!r} names a row twice. Fix: list every row once')
    return rows


def select_rows(state: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Keep rows of the class-indexed tensors, in the order given.

    Args:
        state (Mapping[str, Tensor]): Weights under a host's keys.
        rows (Sequence[int]): The rows, that of "no object" among them where the host has one.

    Raises:
        CheckpointError: If a tensor has no such row, or none is indexed by class.
    """
    selected = dict(state)
    found = [key for key in state if _CLASS_KEYS.fullmatch(key)]
    if not found:
        raise CheckpointError('No tensor is indexed by class. Fix: leave the rows as they are.')
    for key in found:
        if max(rows) >= len(state[key]):
            raise CheckpointError(
                f'{key} has {len(state[key])} rows, none with number {max(rows)}.'
            )
        selected[key] = state[key][list(rows)].clone()
    return selected


@dataclass
class Conversion:
    """Result of :meth:`KeyTable.convert`.

    Attributes:
        state (dict[str, Tensor]): Weights under the host's keys.
        dropped (dict[str, str]): Source keys that have no place in the host, with the reason.
    """

    state: dict[str, Tensor]
    dropped: dict[str, str] = field(default_factory=dict)

    def check_filled(self, wanted: dict[str, Tensor], derived: Iterable[str] = ()) -> list[str]:
        """Compare with the host's own state.

        Args:
            wanted (dict[str, Tensor]): State of a host of that size.
            derived (Iterable[str]): Ends of keys that the host computes itself.

        Returns:
            list[str]: Keys that the host computes itself and the source lacks.

        Raises:
            CheckpointError: If a key is missing, unknown to the host, or of another shape.
        """
        ends = tuple(derived)
        missing = [key for key in wanted if key not in self.state]
        own = [key for key in missing if ends and key.endswith(ends)]
        problems = [f'{key} is missing' for key in missing if key not in own]
        problems += [f'{key} is unknown to the host' for key in self.state if key not in wanted]
        for key in sorted(set(self.state) & set(wanted)):
            found, shape = tuple(self.state[key].shape), tuple(wanted[key].shape)
            if found != shape:
                problems.append(f'{key} has shape {found} instead of {shape}')
        if problems:
            raise CheckpointError(
                f'The converted weights do not fit the host: {"; ".join(problems[:8])} '
                f'({len(problems)} in all). Fix: give the config of the model that was trained, '
                'with its number of classes.'
            )
        return own
