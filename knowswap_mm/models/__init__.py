"""The swapper, the LoRA backbone, the enlarged heads, and the objectives."""

from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.lora_backbone import LoRABackbone
from knowswap_mm.models.losses import (
    DecoupledDistillationLoss,
    DistillationForgettingLoss,
    ElasticWeightLoss,
    FeatureMatchingLoss,
    GradientAscentLoss,
    Objective,
    SwappingLoss,
    TiltedReweightingLoss,
    UndoLoss,
    WeightedSumLoss,
)
from knowswap_mm.models.original import merged_host, original_host, unload_all, unload_newest
from knowswap_mm.models.preprocessor import RoleDataPreprocessor
from knowswap_mm.models.role_model import RoleModel
from knowswap_mm.models.swapper import FullTrainingSwapper, KnowledgeSwapper

__all__ = [
    'ClassRows',
    'DecoupledDistillationLoss',
    'DistillationForgettingLoss',
    'ElasticWeightLoss',
    'FeatureMatchingLoss',
    'FullTrainingSwapper',
    'GradientAscentLoss',
    'KnowledgeSwapper',
    'LoRABackbone',
    'Objective',
    'RoleDataPreprocessor',
    'RoleModel',
    'SwappingLoss',
    'TiltedReweightingLoss',
    'UndoLoss',
    'WeightedSumLoss',
    'merged_host',
    'original_host',
    'unload_all',
    'unload_newest',
]
