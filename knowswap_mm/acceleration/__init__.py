"""Changes that make a host faster; one file each."""

from knowswap_mm.acceleration.accelerate import DEFAULTS, accelerate
from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.batched_denoising_queries import BatchedDenoisingQueries
from knowswap_mm.acceleration.batched_dino_losses import BatchedDINOLosses
from knowswap_mm.acceleration.batched_mask2former_losses import BatchedMask2FormerLosses

__all__ = [
    'DEFAULTS',
    'Acceleration',
    'BatchedDINOLosses',
    'BatchedDenoisingQueries',
    'BatchedMask2FormerLosses',
    'accelerate',
]
