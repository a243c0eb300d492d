"""Role-wise metrics and scores."""

from knowswap_mm.evaluation.coco import CocoRoleMetric
from knowswap_mm.evaluation.role_metric import PerClassAccuracy, RoleMetric, swap_score
from knowswap_mm.evaluation.semantic import SemanticRoleMetric
from knowswap_mm.runs.results import forgetting_h_mean

__all__ = [
    'CocoRoleMetric',
    'PerClassAccuracy',
    'RoleMetric',
    'SemanticRoleMetric',
    'forgetting_h_mean',
    'swap_score',
]
