"""How something is installed."""

from __future__ import annotations

import shlex
import sys

from knowswap_mm.doctor.requirement_list import installed_version

#: Are compiled against the installed torch, which a build in isolation would not see.
_COMPILED = ('onedl-mmcv',)


def pip_command(*words: str) -> str:
    """A command of the pip that belongs to this Python."""
    return shlex.join([sys.executable, '-m', 'pip', *words])


def pip_install(*requirements: str, options: tuple[str, ...] = ()) -> str:
    """The command that installs requirements beside this Python.

    Args:
        *requirements (str): E.g. ``peft<0.22,>=0.21``.
        options (tuple[str, ...]): More options of pip.
    """
    if any(requirement.startswith(_COMPILED) for requirement in requirements):
        options = ('--no-build-isolation', *options)
    return pip_command('install', *options, *requirements)


def reinstall(name: str) -> str:
    """The command that puts torch or torchvision anew, in its version and for the build of torch.

    Args:
        name (str): ``torch`` or ``torchvision``.
    """
    version = (installed_version(name) or '').partition('+')[0]
    build = (installed_version('torch') or '').partition('+')[2]
    options = ('--force-reinstall', '--no-deps')
    if build:  # a torch of the publisher's own index, which has its torchvision
        options += ('--index-url', f'https://download.pytorch.org/whl/{build}')
    return pip_install(f'{name}=={version}', options=options)
