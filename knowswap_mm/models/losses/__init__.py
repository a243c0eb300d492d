"""Objectives: what becomes of the role losses of a batch."""

from knowswap_mm.models.losses.baselines import (
    DistillationForgettingLoss,
    ElasticWeightLoss,
    GradientAscentLoss,
)
from knowswap_mm.models.losses.delete import DecoupledDistillationLoss
from knowswap_mm.models.losses.feature_matching import FeatureMatchingLoss
from knowswap_mm.models.losses.objective import Objective, WeightedSumLoss
from knowswap_mm.models.losses.swapping import SwappingLoss
from knowswap_mm.models.losses.tilted import TiltedReweightingLoss
from knowswap_mm.models.losses.undo import UndoLoss

__all__ = [
    'DecoupledDistillationLoss',
    'DistillationForgettingLoss',
    'ElasticWeightLoss',
    'FeatureMatchingLoss',
    'GradientAscentLoss',
    'Objective',
    'SwappingLoss',
    'TiltedReweightingLoss',
    'UndoLoss',
    'WeightedSumLoss',
]
