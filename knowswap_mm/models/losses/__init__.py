"""Objectives: what becomes of the role losses of a batch."""

from knowswap_mm.models.losses.baselines import (
    DistillationForgettingLoss,
    ElasticWeightLoss,
    GradientAscentLoss,
)
from knowswap_mm.models.losses.feature_matching import FeatureMatchingLoss
from knowswap_mm.models.losses.objective import Objective, WeightedSumLoss
from knowswap_mm.models.losses.swapping import SwappingLoss

__all__ = [
    'DistillationForgettingLoss',
    'ElasticWeightLoss',
    'FeatureMatchingLoss',
    'GradientAscentLoss',
    'Objective',
    'SwappingLoss',
    'WeightedSumLoss',
]
