"""The swapper, the LoRA backbone, and the enlarged heads."""

from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.knowledge_swapper import KnowledgeSwapper
from knowswap_mm.models.lora_backbone import LoRABackbone
from knowswap_mm.models.losses.objective import Objective
from knowswap_mm.models.losses.swapping_loss import SwappingLoss
from knowswap_mm.models.original_host import original_host
from knowswap_mm.models.role_data_preprocessor import RoleDataPreprocessor
from knowswap_mm.models.unload import unload_all, unload_newest

__all__ = [
    'ClassRows',
    'KnowledgeSwapper',
    'LoRABackbone',
    'Objective',
    'RoleDataPreprocessor',
    'SwappingLoss',
    'original_host',
    'unload_all',
    'unload_newest',
]
