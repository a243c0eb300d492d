"""Checks of an installation."""

from knowswap_mm.doctor.checks.libraries import (
    Hosts,
    MmcvOperators,
    TorchPair,
    TorchvisionOperators,
)
from knowswap_mm.doctor.checks.machine import Device, WorkDir
from knowswap_mm.doctor.checks.packages import Originals, Packages, PythonVersion
from knowswap_mm.doctor.checks.swap import TinySwap

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
