"""Whether torchvision can be imported beside this torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from knowswap_mm.doctor.examination import Check, Finding, one_line
from knowswap_mm.doctor.overlapping_boxes import KEPT, overlapping_boxes
from knowswap_mm.doctor.pip import reinstall
from knowswap_mm.registry import DOCTOR_CHECKS


@DOCTOR_CHECKS.register_module()
class TorchvisionOperators(Check):
    """Torchvision is built for the installed torch.

    One that is built for CUDA beside a torch for the CPU cannot load its library, and then its
    import fails, unless the start-up shim of ``tools/setup`` declares two operators for it. They
    cannot run then, but nothing of ours calls them.
    """

    name, order, needs = 'torchvision', 50, ('torch',)

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        fix = reinstall('torchvision')
        try:
            operators = importlib.import_module('torchvision.ops')
        except Exception as error:  # a library that does not fit fails in many ways
            text = f'torchvision cannot be imported ({one_line(error)})'
            if 'torchvision::' in str(error):  # what the start-up shim declares
                fix += ', or in the repository: python tools/setup/install_shim.py'
            yield Finding('problem', text, fix)
            return
        try:
            kept = operators.nms(*overlapping_boxes(), 0.5).tolist()
        except (RuntimeError, NotImplementedError):
            text = (
                'torchvision is built for another torch; its operators, which no swap needs, fail'
            )
            yield Finding('warning', text, fix)
            return
        if kept == KEPT:
            yield Finding('ok', 'the operators of torchvision run')
        else:
            text = f'torchvision.ops.nms kept the boxes {kept} instead of {KEPT}'
            yield Finding('problem', text, fix)
