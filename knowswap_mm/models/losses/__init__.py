"""Objectives: what becomes of the role losses of a batch."""

from knowswap_mm.models.losses.distillation_forgetting_loss import DistillationForgettingLoss
from knowswap_mm.models.losses.elastic_weight_loss import ElasticWeightLoss
from knowswap_mm.models.losses.gradient_ascent_loss import GradientAscentLoss
from knowswap_mm.models.losses.objective import Objective
from knowswap_mm.models.losses.swapping_loss import SwappingLoss
from knowswap_mm.models.losses.weighted_sum_loss import WeightedSumLoss

__all__ = [
    'DistillationForgettingLoss',
    'ElasticWeightLoss',
    'GradientAscentLoss',
    'Objective',
    'SwappingLoss',
    'WeightedSumLoss',
]
