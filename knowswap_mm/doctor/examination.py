"""All checks of an installation."""

from __future__ import annotations

import importlib
from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from knowswap_mm.registry import DOCTOR_CHECKS


def one_line(error: BaseException) -> str:
    """Kind of an error and the first line of its message."""
    return f'{type(error).__name__}: {error}'.splitlines()[0]


STATES = ('ok', 'warning', 'problem')


@dataclass(frozen=True)
class Finding:
    """One line of ``knowswap doctor``.

    Args:
        state (str): ``ok``, ``warning`` (something will be slow, or cannot be used) or ``problem``
            (swaps will fail).
        text (str): What was found.
        fix (str | None): The command that fixes it, or what to do; every problem has one.

    Raises:
        ValueError: If the state is unknown, or a problem has no fix.
    """

    state: str
    text: str
    fix: str | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f'state must be one of {STATES}, not {self.state!r}')
        if self.state == 'problem' and not self.fix:
            raise ValueError(f'the problem {self.text!r} needs a fix')

    def __str__(self) -> str:
        lines = [f'{self.state:8}{self.text}']
        if self.fix:
            lines.append(f'{"":8}Fix: {self.fix}')
        return '\n'.join(lines)


class Check(metaclass=ABCMeta):
    """Looks at one thing; a new check is a file with a registered subclass.

    It imports what it looks at in :meth:`findings`, because that may be broken.

    Args:
        work_dir (Path): Where runs will be written.

    Attributes:
        name (str): For ``--skip`` and the json.
        order (int): Checks come by this number.
        needs (tuple[str, ...]): Checks without whose success this one would only repeat them.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir

    @abstractmethod
    def findings(self) -> Iterator[Finding]:
        """What there is to say; at least one finding."""


class Examination:
    """Runs the registered checks in their order.

    Args:
        work_dir (Path): Where runs will be written.
        skip (Collection[str]): Names of checks that are left out.
    """

    def __init__(self, work_dir: Path, skip: Collection[str] = ()) -> None:
        self.work_dir, self.skip = work_dir, skip

    @staticmethod
    def checks() -> dict[str, type[Check]]:
        """All checks by name."""
        # Not by import_from_location, which logs, and needs a torch that works for it.
        importlib.import_module('knowswap_mm.doctor.checks')
        kinds = sorted(DOCTOR_CHECKS.module_dict.values(), key=lambda kind: kind.order)
        return {kind.name: kind for kind in kinds}

    def findings(self) -> Iterator[tuple[str, Finding]]:
        """Pairs of a check's name and a finding, as they are made."""
        failed: set[str] = set()
        for name, kind in self.checks().items():
            if name in self.skip:
                continue
            if missing := [need for need in kind.needs if need in failed]:
                failed.add(name)
                text = f'{name}: not tried, because of what is wrong above ({", ".join(missing)})'
                yield name, Finding('warning', text)
                continue
            for finding in self._made_by(kind):
                if finding.state == 'problem':
                    failed.add(name)
                yield name, finding

    def _made_by(self, kind: type[Check]) -> Iterator[Finding]:
        try:
            yield from kind(self.work_dir).findings()
        except Exception as error:  # what is broken may fail in any way
            fix = 'fix what the message says; if that is unclear, open an issue with it'
            yield Finding('problem', f'{kind.name} cannot be checked ({one_line(error)})', fix)
