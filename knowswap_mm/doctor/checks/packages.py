"""Versions of the packages that ours builds on."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import Requirement

from knowswap_mm.doctor.examination import Check, Finding
from knowswap_mm.doctor.pip import installed_version, pip_install, read_requirements
from knowswap_mm.registry import DOCTOR_CHECKS


@DOCTOR_CHECKS.register_module()
class Packages(Check):
    """Everything that the package requires is there, in a version that it supports."""

    name, order, needs = 'packages', 20, ('python',)

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        for requirement, extras in read_requirements():
            yield self._look_at(requirement, extras)

    @staticmethod
    def _look_at(requirement: Requirement, extras: tuple[str, ...]) -> Finding:
        found, fix = installed_version(requirement.name), pip_install(str(requirement))
        purpose = f' (for {", ".join(extras)})' if extras else ''
        if found is None:
            state = 'warning' if extras else 'problem'
            return Finding(state, f'{requirement.name} is not installed{purpose}', fix)
        if requirement.specifier.contains(found, prereleases=True):
            return Finding('ok', f'{requirement.name} {found}{purpose}')
        text = f'{requirement.name} {found} is not supported, {requirement.specifier} is{purpose}'
        return Finding('problem', text, fix)
