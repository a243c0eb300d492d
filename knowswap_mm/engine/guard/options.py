"""What a config says about the guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knowswap_mm.checks import check_keys, check_number, check_whole
from knowswap_mm.datasets.holdout import held_share
from knowswap_mm.errors import ConfigError

_KEY = 'swap.guard'


@dataclass(frozen=True)
class GuardOptions:
    """Options of the guard; ``swap.guard`` may be a dict of them.

    Attributes:
        looks (int): Looks at the watched samples in a phase, beside the one at its start; fewer in
            short phases, see :func:`~knowswap_mm.engine.guard.plan.plan_looks`.
        tolerance (float): How far the mean loss of retain samples may have risen at the end of a
            phase, as a share of the loss of chance (ln K); more is tolerated before.
        steps_back (int): How often a phase may go back to its last good state.
        extend (float): By how much of its length a phase may be extended in all.
    """

    looks: int = 8
    tolerance: float = 0.15
    steps_back: int = 2
    extend: float = 1.0

    def __post_init__(self) -> None:
        check_whole(f'{_KEY}.looks', self.looks, 1, 8)
        check_number(f'{_KEY}.tolerance', self.tolerance, '> 0', 0.15)
        check_whole(f'{_KEY}.steps_back', self.steps_back, 0, 2)
        check_number(f'{_KEY}.extend', self.extend, '>= 0', 1.0)

    @classmethod
    def from_swap(cls, swap: Mapping[str, Any]) -> GuardOptions | None:
        """Read ``guard`` and ``holdout`` of the field ``swap`` of a config.

        Returns:
            GuardOptions | None: None if there is no guard.

        Raises:
            ConfigError: If a value cannot be used.
        """
        given = swap.get('guard', True)
        if not isinstance(given, (bool, Mapping)):
            fix = 'use True, False or e.g. dict(looks=8, tolerance=0.15)'
            raise ConfigError(_KEY, given, 'neither a flag nor a dict', fix)
        options = {} if isinstance(given, bool) else dict(given)
        check_keys(_KEY, options, cls.__dataclass_fields__)
        found = cls(**options)
        return found if held_share(swap) else None  # 0 with guard=False
