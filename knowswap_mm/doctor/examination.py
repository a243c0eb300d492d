"""All checks of an installation."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from pathlib import Path

from knowswap_mm.doctor.check import Check
from knowswap_mm.doctor.finding import Finding
from knowswap_mm.doctor.one_line import one_line
from knowswap_mm.registry import DOCTOR_CHECKS


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
            fix = 'mend what the message says; if that is unclear, open an issue with it'
            yield Finding('problem', f'{kind.name} cannot be checked ({one_line(error)})', fix)
