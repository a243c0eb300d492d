"""Changes that make a host faster; one file each."""

from knowswap_mm.acceleration.acceleration import DEFAULTS, Acceleration, accelerate
from knowswap_mm.acceleration.batched_losses import BatchedDINOLosses, BatchedMask2FormerLosses
from knowswap_mm.acceleration.class_token_only import ClassTokenOnly
from knowswap_mm.acceleration.compiled_blocks import CompiledBlocks
from knowswap_mm.acceleration.dropouts import HashedDropout, PackedDropout
from knowswap_mm.acceleration.fused_window_attention import FusedWindowAttention
from knowswap_mm.acceleration.graphed_backbone import GraphedBackbone
from knowswap_mm.acceleration.half_residuals import HalfResiduals
from knowswap_mm.acceleration.lean_lora import LeanLoRA
from knowswap_mm.acceleration.linear_patches import LinearPatches
from knowswap_mm.acceleration.packed_attention import PackedAttention

__all__ = [
    'DEFAULTS',
    'Acceleration',
    'ClassTokenOnly',
    'CompiledBlocks',
    'FusedWindowAttention',
    'GraphedBackbone',
    'HalfResiduals',
    'HashedDropout',
    'LeanLoRA',
    'LinearPatches',
    'PackedAttention',
    'PackedDropout',
    'BatchedDINOLosses',
    'BatchedMask2FormerLosses',
    'accelerate',
]
