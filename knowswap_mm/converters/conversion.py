"""What a conversion made and what it left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from knowswap_mm.errors import CheckpointError


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
