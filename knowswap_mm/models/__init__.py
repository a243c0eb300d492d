"""The swapper, the LoRA backbone, the enlarged heads, and the objectives."""

from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.full_training_swapper import FullTrainingSwapper
from knowswap_mm.models.knowledge_swapper import KnowledgeSwapper
from knowswap_mm.models.lora_backbone import LoRABackbone
from knowswap_mm.models.losses import (
    DistillationForgettingLoss,
    ElasticWeightLoss,
    GradientAscentLoss,
    Objective,
    SwappingLoss,
    WeightedSumLoss,
)
from knowswap_mm.models.merged_host import merged_host
from knowswap_mm.models.original_host import original_host
from knowswap_mm.models.role_data_preprocessor import RoleDataPreprocessor
from knowswap_mm.models.unload import unload_all, unload_newest

__all__ = [
    'ClassRows',
    'DistillationForgettingLoss',
    'ElasticWeightLoss',
    'FullTrainingSwapper',
    'GradientAscentLoss',
    'KnowledgeSwapper',
    'LoRABackbone',
    'Objective',
    'RoleDataPreprocessor',
    'SwappingLoss',
    'WeightedSumLoss',
    'merged_host',
    'original_host',
    'unload_all',
    'unload_newest',
]
