"""Python itself."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.specifiers import SpecifierSet

from knowswap_mm.doctor.examination import Check, Finding
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
