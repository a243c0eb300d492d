"""Checks of an installation; one file each."""

from knowswap_mm.doctor.checks.device import Device
from knowswap_mm.doctor.checks.hosts import Hosts
from knowswap_mm.doctor.checks.mmcv_operators import MmcvOperators
from knowswap_mm.doctor.checks.originals import Originals
from knowswap_mm.doctor.checks.packages import Packages
from knowswap_mm.doctor.checks.python_version import PythonVersion
from knowswap_mm.doctor.checks.tiny_swap import TinySwap
from knowswap_mm.doctor.checks.torch_pair import TorchPair
from knowswap_mm.doctor.checks.torchvision_operators import TorchvisionOperators
from knowswap_mm.doctor.checks.work_dir import WorkDir

__all__ = [
    'Device',
    'Hosts',
    'MmcvOperators',
    'Originals',
    'Packages',
    'PythonVersion',
    'TinySwap',
    'TorchPair',
    'TorchvisionOperators',
    'WorkDir',
]
