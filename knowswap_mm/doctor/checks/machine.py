"""The GPU, if there is one, and the folder for runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from types import ModuleType

from knowswap_mm.doctor.examination import Check, Finding, one_line
from knowswap_mm.registry import DOCTOR_CHECKS

_BUILDS = 'install a torch that is built for CUDA, see https://pytorch.org/get-started/locally/'


def read_driver() -> str | None:
    """Version of NVIDIA's driver; None if there is no driver, or no GPU."""
    if not shutil.which('nvidia-smi'):
        return None
    command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None


def multiply(device: str) -> float:
    """The sum of a product of two matrices of ones, 8 x 8: 512."""
    import torch

    ones = torch.ones(8, 8, device=device)
    return float((ones @ ones).sum())


@DOCTOR_CHECKS.register_module()
class Device(Check):
    """A GPU that is there is seen by torch and computes."""

    name, order, needs = 'device', 80, ('torch',)

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        import torch

        driver, built_for = read_driver(), torch.version.cuda
        if torch.cuda.is_available():
            for number in range(torch.cuda.device_count()):
                yield self._try(torch, number, driver)
        elif driver is None:
            yield Finding('ok', 'no NVIDIA GPU: swaps run on the CPU')
        elif os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'):
            text = 'CUDA_VISIBLE_DEVICES hides all GPUs: swaps run on the CPU'
            yield Finding('warning', text, 'unset CUDA_VISIBLE_DEVICES')
        elif built_for is None:
            yield Finding('warning', 'there is a GPU, but this torch is for the CPU', _BUILDS)
        else:
            text = f'there is a GPU, but torch for CUDA {built_for} cannot use it (driver {driver})'
            fix = f'update the driver until `nvidia-smi` shows CUDA {built_for} or later'
            yield Finding('problem', text, f'{fix}, or {_BUILDS}')

    @staticmethod
    def _try(torch: ModuleType, number: int, driver: str | None) -> Finding:
        about = torch.cuda.get_device_properties(number)
        text = f'GPU {number}: {about.name}, {about.total_memory / 2**30:.0f} GiB'
        try:
            value = multiply(f'cuda:{number}')
        except RuntimeError as error:
            return Finding('problem', f'{text} does not compute ({one_line(error)})', _BUILDS)
        if value != 512:
            return Finding('problem', f'{text} computes wrongly', 'try another GPU, or the CPU')
        return Finding('ok', f'{text}, CUDA {torch.version.cuda}, driver {driver or "unknown"}')


#: Free space in GiB below which a run is likely to fail, and below which a long one may.
TOO_LITTLE, LITTLE = 1, 10


@DOCTOR_CHECKS.register_module()
class WorkDir(Check):
    """Runs can be written, and there is space for checkpoints."""

    name, order = 'work_dir', 90

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        fix = 'name another folder with --work-dir'
        place = self.work_dir.resolve()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            yield Finding('problem', f'{place} is a file, not a folder', fix)
            return
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b'1')
        except OSError as error:
            yield Finding('problem', f'{place} cannot be written to ({error.strerror})', fix)
            return
        free = shutil.disk_usage(place).free / 2**30
        text = f'{self.work_dir} can be written to, {free:.0f} GiB are free'
        if free < TOO_LITTLE:
            yield Finding('problem', f'only {free:.2f} GiB are free for {self.work_dir}', fix)
        elif free < LITTLE:
            yield Finding('warning', f'{text}: checkpoints of large models may fill them', fix)
        else:
            yield Finding('ok', text)
