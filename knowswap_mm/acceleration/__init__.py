"""Changes that make a host faster; one file each."""

from knowswap_mm.acceleration.accelerate import DEFAULTS, accelerate
from knowswap_mm.acceleration.acceleration import Acceleration

__all__ = ['DEFAULTS', 'Acceleration', 'accelerate']
