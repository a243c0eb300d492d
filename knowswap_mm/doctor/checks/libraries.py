"""Whether torch and the libraries on it can be imported, fit each other and compute."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

from knowswap_mm.doctor.examination import Check, Finding, one_line
from knowswap_mm.installation import (
    DURATION,
    OPERATORS,
    compile_operators,
    complete,
    has_operators,
    installed_version,
    pip_install,
    read_requirements,
    reinstall,
)
from knowswap_mm.registry import DOCTOR_CHECKS

if TYPE_CHECKING:
    from torch import Tensor


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
            try:  # without its limits pip would take one that is too new
                wanted = [str(each) for each, _ in read_requirements() if each.name == 'torch']
            except PackageNotFoundError:
                wanted = ['torch']
            fix = pip_install(*wanted, 'torchvision')
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


#: What is kept above an overlap of one half.
KEPT = [0, 2]


def overlapping_boxes() -> tuple[Tensor, Tensor]:
    """Three boxes, of which the second nearly equals the first, and their scores."""
    import torch

    boxes = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9], [8.0, 8.0, 9.0, 9.0]]
    return torch.tensor(boxes), torch.tensor([0.9, 0.8, 0.7])


@DOCTOR_CHECKS.register_module()
class TorchvisionOperators(Check):
    """Torchvision is built for the installed torch.

    One that is built for CUDA beside a torch for the CPU cannot load its library, and then its
    import would fail, did ``torchvision_schema_shim`` not declare two operators for it. They cannot
    run then, but nothing of ours calls them.
    """

    name, order, needs = 'torchvision', 50, ('torch',)

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        fix = reinstall('torchvision')
        try:
            operators = importlib.import_module('torchvision.ops')
        except Exception as error:  # a library that does not fit fails in many ways
            text = f'torchvision cannot be imported ({one_line(error)})'
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


@DOCTOR_CHECKS.register_module()
class MmcvOperators(Check):
    """Mmcv is compiled for this torch: non-maximum suppression and deformable attention are right.

    Deformable attention, forward and backward, is compared with its formula on the device on which
    a swap would train: the compiled operator on a GPU, mmcv's fallback on a CPU.
    """

    name, order, needs = 'mmcv', 70, ('torch', 'torchvision', 'originals')

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        fix = compile_operators()
        if not has_operators():
            text = f'light installation: {OPERATORS} are missing; only classifiers can be swapped'
            yield Finding('warning', text, complete())
            return
        try:
            yield from self._run(fix)
        except (ImportError, RuntimeError, NotImplementedError, AttributeError) as error:
            text = f'the operators of mmcv do not run with this torch ({one_line(error)})'
            yield Finding('problem', text, f'{fix} ({DURATION})')

    @staticmethod
    def _run(fix: str) -> Iterator[Finding]:
        import torch
        from mmcv.ops import MultiScaleDeformableAttention, nms

        from knowswap_mm.doctor.deformable_attention import worst_error

        kept = nms(*overlapping_boxes(), iou_threshold=0.5)[1].tolist()
        if kept != KEPT:
            yield Finding('problem', f'mmcv.ops.nms kept the boxes {kept}, not {KEPT}', fix)
            return
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        layer = MultiScaleDeformableAttention(32, num_heads=4, num_levels=1).to(device)
        queries = torch.rand(5, 2, 32, device=device)
        values = torch.rand(16, 2, 32, device=device)
        shapes = torch.tensor([[4, 4]], device=device)
        points = torch.rand(2, 5, 1, 2, device=device)
        layer(
            queries,
            value=values,
            reference_points=points,
            spatial_shapes=shapes,
            level_start_index=torch.zeros(1, dtype=torch.long, device=device),
        )
        worst = worst_error(device)
        if worst > 1:
            text = f'deformable attention of mmcv on {device} is {worst:.1f} times off its limit'
            yield Finding('problem', text, fix)
        else:
            text = f'mmcv: non-maximum suppression and deformable attention ({device}) are right'
            yield Finding('ok', text)
