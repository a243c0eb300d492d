"""The libraries of the hosts."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator

from knowswap_mm.doctor.examination import Check, Finding, one_line
from knowswap_mm.registry import DOCTOR_CHECKS

#: Module of each library, and the task that it is for.
HOSTS = dict(mmpretrain='classification', mmdet='detection', mmseg='segmentation')


@DOCTOR_CHECKS.register_module()
class Hosts(Check):
    """The host libraries that are installed can be imported."""

    name, order, needs = 'hosts', 60, ('torch', 'torchvision', 'originals')

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        for name, task in HOSTS.items():
            if importlib.util.find_spec(name) is None:
                yield Finding('warning', f'{task}: {name} is not installed; see its package above')
                continue
            try:
                importlib.import_module(name)
            except Exception as error:  # a version that does not fit fails in many ways
                fix = 'install the versions that `packages` above asks for; then: knowswap doctor'
                yield Finding(
                    'problem', f'{task}: {name} cannot be imported ({one_line(error)})', fix
                )
            else:
                yield Finding('ok', f'{task}: {name} can be imported')
