"""Role-wise metrics and scores."""

from knowswap_mm.evaluation.coco_role_metric import CocoRoleMetric
from knowswap_mm.evaluation.per_class_accuracy import PerClassAccuracy
from knowswap_mm.evaluation.role_metric import RoleMetric
from knowswap_mm.evaluation.scores import forgetting_h_mean, swap_score
from knowswap_mm.evaluation.semantic_role_metric import SemanticRoleMetric

__all__ = [
    'CocoRoleMetric',
    'PerClassAccuracy',
    'RoleMetric',
    'SemanticRoleMetric',
    'forgetting_h_mean',
    'swap_score',
]
