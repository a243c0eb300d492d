"""Changes that make a host faster; one file each."""

from knowswap_mm.acceleration.accelerate import DEFAULTS, accelerate
from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.compiled_blocks import CompiledBlocks
from knowswap_mm.acceleration.fused_window_attention import FusedWindowAttention
from knowswap_mm.acceleration.lean_lora import LeanLoRA
from knowswap_mm.acceleration.low_precision_base import LowPrecisionBase
from knowswap_mm.acceleration.packed_attention import PackedAttention

__all__ = [
    'DEFAULTS',
    'Acceleration',
    'CompiledBlocks',
    'FusedWindowAttention',
    'LeanLoRA',
    'LowPrecisionBase',
    'PackedAttention',
    'accelerate',
]
