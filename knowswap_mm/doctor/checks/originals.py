"""OpenMMLab's own packages, which share import names with their maintained forks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from knowswap_mm.doctor.examination import Check, Finding
from knowswap_mm.doctor.pip import pip_command, pip_install
from knowswap_mm.registry import DOCTOR_CHECKS

#: Originals, by the fork whose files each would overwrite.
ORIGINALS = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmcv-lite': 'onedl-mmcv',
    'mmcv-full': 'onedl-mmcv',
    'mmpretrain': 'onedl-mmpretrain',
    'mmdet': 'onedl-mmdetection',
    'mmsegmentation': 'onedl-mmsegmentation',
}


def is_here(name: str) -> bool:
    """Tell whether a distribution is installed in this very environment.

    Those of a system beneath a virtual environment are hidden by the forks in it.
    """
    try:
        place = metadata.distribution(name).locate_file('')
    except metadata.PackageNotFoundError:
        return False
    return Path(sys.prefix).resolve() in Path(place).resolve().parents


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
            fork = ORIGINALS[name]
            again = pip_install(fork, options=('--force-reinstall', '--no-deps'))
            remove = pip_command('uninstall', '-y', name)
            text = f'{name} overwrites the files of {fork}'
            yield Finding('problem', text, f'{remove} && {again}')
