"""What the package requires, as its metadata say: setup.py writes requirements/*.txt into them."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata

from packaging.requirements import Requirement

#: Are compiled against the installed torch, which a build in isolation would not see.
_COMPILED = ('onedl-mmcv',)


def pip_command(*words: str) -> str:
    """A command of the pip that belongs to this Python."""
    return shlex.join([sys.executable, '-m', 'pip', *words])


def pip_install(*requirements: str, options: tuple[str, ...] = ()) -> str:
    """The command that installs requirements (``peft<0.22,>=0.21``) beside this Python."""
    if any(requirement.startswith(_COMPILED) for requirement in requirements):
        options = ('--no-build-isolation', *options)
    return pip_command('install', *options, *requirements)


def reinstall(name: str) -> str:
    """The command that installs torch or torchvision anew: its version, for the build of torch."""
    version = (installed_version(name) or '').partition('+')[0]
    build = (installed_version('torch') or '').partition('+')[2]
    options = ('--force-reinstall', '--no-deps')
    if build:  # a torch of the publisher's own index, which has its torchvision
        options += ('--index-url', f'https://download.pytorch.org/whl/{build}')
    return pip_install(f'{name}=={version}', options=options)


#: Extras for working on the package, and the one that repeats all others.
_NOT_FOR_USERS = ('all', 'tests')


def installed_version(name: str) -> str | None:
    """Version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_requirements() -> list[tuple[Requirement, tuple[str, ...]]]:
    """Each requirement, with the extras that it is for; no extras: everybody needs it.

    Raises:
        importlib.metadata.PackageNotFoundError: If ``knowswap_mm`` is not installed.
    """
    about = metadata.metadata('knowswap_mm')
    extras = [name for name in about.get_all('Provides-Extra', []) if name not in _NOT_FOR_USERS]
    found: dict[str, tuple[Requirement, tuple[str, ...]]] = {}
    for line in metadata.requires('knowswap_mm') or []:
        requirement = Requirement(line)
        marker, requirement.marker = requirement.marker, None
        always = marker is None or marker.evaluate(dict(extra=''))
        chosen = [] if always else [name for name in extras if marker.evaluate(dict(extra=name))]
        if always or chosen:
            before = found.get(str(requirement), (requirement, ()))[1]
            found[str(requirement)] = (requirement, (*before, *chosen))
    return list(found.values())
