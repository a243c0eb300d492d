"""The plan of a run: each number of its recipe, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knowswap_mm.console import ShortLine
from knowswap_mm.errors import CheckpointError
from knowswap_mm.registry import type_name
from knowswap_mm.schedule.schedule import AUTO
from knowswap_mm.visualization.tables import markdown_table

GIVEN = 'given'


@dataclass(frozen=True)
class Entry:
    """One number of a plan.

    Attributes:
        key (str): Its key in the config.
        value (Any): The number, or whatever stands in the config.
        source (str): ``given`` by the config, or ``auto``: by the recipe.
        why (str): Of an ``auto`` one, the formula in words.
    """

    key: str
    value: Any
    source: str = GIVEN
    why: str = ''

    @property
    def row(self) -> list[str]:
        """Key, value and source for a table."""
        return [self.key, shown(self.value), f'{self.source}: {self.why}' if self.why else GIVEN]


@dataclass(frozen=True)
class Plan:
    """What a run was planned with; empty where nothing was left to the recipe.

    It is printed when a run starts, kept in ``run.json`` and in checkpoints, and shown in the
    report.
    """

    entries: tuple[Entry, ...] = ()

    HEADER = ('number', 'value', 'from')

    @classmethod
    def read(cls, stored: Any) -> Plan:
        """The plan in a file, which may hold anything: what is no entry of a plan is left out."""
        found = []
        for each in stored if isinstance(stored, (list, tuple)) else ():
            if isinstance(each, Mapping) and isinstance(each.get('key'), str):
                texts = (str(each.get(name) or '') for name in ('source', 'why'))
                found.append(Entry(each['key'], each.get('value'), *texts))
        return cls(tuple(found))

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data for json and for checkpoints."""
        found = [vars(each) for each in self.entries]
        return json.loads(json.dumps(found, default=type_name))

    def table(self) -> str:
        """As a table for the log."""
        return markdown_table(self.HEADER, [each.row for each in self.entries], aligned=True)

    def line(self) -> ShortLine:
        """For the log: the console gets the numbers without their reasons."""
        rows = [[each.key, shown(each.value), each.source] for each in self.entries]
        short = markdown_table(self.HEADER, rows, aligned=True)
        title = 'The plan (the log file and the report say why)'
        return ShortLine(f'The plan:\n{self.table()}', f'{title}:\n{short}')

    def check_resumed(self, filename: str, stored: Any) -> None:
        """Require that the recipe chooses what it chose when a checkpoint was written.

        Another version may have other formulas, and the phases are not all that they say.

        Args:
            filename (str): The checkpoint.
            stored (Any): What :meth:`to_list` gave then; None if nothing was kept.

        Raises:
            CheckpointError: Names the first number that is another one.
        """
        before = {each.key: each.value for each in Plan.read(stored).entries}
        for each in Plan.read(self.to_list()).entries:
            if each.source == AUTO and each.key in before and each.value != before[each.key]:
                old = before[each.key]
                raise CheckpointError(
                    f'{filename} was written with {each.key} = {old!r}, and the recipe now chooses '
                    f'{each.value!r} ({each.why}). Fix: set {each.key} = {old!r}, or resume with '
                    'the config that the run wrote into its folder, which has all its numbers.'
                )


def shown(value: Any) -> str:
    """A value of a config in a few words."""
    if isinstance(value, Mapping):
        parts = [f'{k}={shown(v)}' for k, v in value.items() if k != 'type']
        kind = type_name(value['type']) if 'type' in value else ''
        return f'{kind}({", ".join(parts)})' if kind else ', '.join(parts)
    if isinstance(value, (list, tuple)):
        return '; '.join(map(shown, value))
    return f'{value:.4g}' if isinstance(value, float) else str(value)
