"""Torch and the torchvision that belongs to it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

from knowswap_mm.doctor.examination import Check, Finding, one_line
from knowswap_mm.doctor.pip import installed_version, pip_install, reinstall
from knowswap_mm.registry import DOCTOR_CHECKS


def numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    major, minor = re.findall(r'\d+', version)[:2]
    return int(major), int(minor)


@DOCTOR_CHECKS.register_module()
class TorchPair(Check):
    """Torch can be imported, and the version of torchvision belongs to it: 2.N and 0.(N + 15)."""

    name, order = 'torch', 40

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        torch, vision = installed_version('torch'), installed_version('torchvision')
        if torch is None:
            fix = pip_install('torch', 'torchvision')
            yield Finding('problem', 'torch is not installed', fix)
            return
        try:
            importlib.import_module('torch')
        except Exception as error:  # a library that does not fit fails in many ways
            text = f'torch {torch} cannot be imported ({one_line(error)})'
            yield Finding('problem', text, reinstall('torch'))
            return
        major, minor = numbers(torch)
        wanted = (0, minor + 15)
        fix = pip_install(f'torchvision==0.{wanted[1]}.*', options=('--no-deps',))
        if vision is None:
            yield Finding('problem', f'torchvision is not installed beside torch {torch}', fix)
        elif major != 2:
            text = f'it is not known which torchvision belongs to torch {torch}; there is {vision}'
            yield Finding('warning', text)
        elif numbers(vision) != wanted:
            text = f'torchvision {vision} does not belong to torch {torch}, 0.{wanted[1]} does'
            yield Finding('problem', text, fix)
        else:
            yield Finding('ok', f'torch {torch} and torchvision {vision} belong together')
