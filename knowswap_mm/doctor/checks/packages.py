"""What is installed: Python, the packages that ours builds on, and none that overwrites them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from knowswap_mm.doctor.examination import Check, Finding
from knowswap_mm.installation import (
    ORIGINALS,
    installed_version,
    is_here,
    pip_install,
    read_requirements,
    replace_originals,
)
from knowswap_mm.registry import DOCTOR_CHECKS
from knowswap_mm.version import __version__


@DOCTOR_CHECKS.register_module()
class PythonVersion(Check):
    """Python fits, and the package is installed in the version that is imported."""

    name, order = 'python', 10

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        again = 'run `make setup` or `pip install --no-build-isolation .` in its repository'
        try:
            about = metadata.metadata('knowswap_mm')
        except metadata.PackageNotFoundError:
            yield Finding('problem', 'knowswap_mm is imported, but not installed', again)
            return
        found, wanted = platform.python_version(), about['Requires-Python']
        if SpecifierSet(wanted).contains(found, prereleases=True):
            yield Finding('ok', f'Python {found}')
        else:
            fix = f'make a virtual environment with a Python {wanted} and install again'
            yield Finding('problem', f'Python {found} is not supported ({wanted})', fix)
        if about['Version'] == __version__:
            yield Finding('ok', f'knowswap_mm {__version__}')
        else:
            text = f'knowswap_mm {__version__} is imported, {about["Version"]} is installed'
            yield Finding('warning', text, again)


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


@DOCTOR_CHECKS.register_module()
class Originals(Check):
    """No original stands beside its fork."""

    name, order = 'originals', 30

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        found = [name for name in ORIGINALS if is_here(name)]
        if not found:
            yield Finding('ok', 'no original of OpenMMLab stands in the way of its fork')
        for name in found:
            text = f'{name} overwrites the files of {ORIGINALS[name]}'
            yield Finding('problem', text, replace_originals([name]))
