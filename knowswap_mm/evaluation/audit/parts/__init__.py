"""Attacks and descriptions; one file each."""

from knowswap_mm.evaluation.audit.parts.answers import Answers
from knowswap_mm.evaluation.audit.parts.audit_part import AuditPart
from knowswap_mm.evaluation.audit.parts.drift import Drift
from knowswap_mm.evaluation.audit.parts.dropped_adapter import DroppedAdapter
from knowswap_mm.evaluation.audit.parts.linear_probe import LinearProbe
from knowswap_mm.evaluation.audit.parts.membership_inference import MembershipInference
from knowswap_mm.evaluation.audit.parts.metrics_by_role import MetricsByRole
from knowswap_mm.evaluation.audit.parts.prototype_probe import PrototypeProbe
from knowswap_mm.evaluation.audit.parts.relearning import Relearning
from knowswap_mm.evaluation.audit.parts.similarity import Similarity

__all__ = [
    'Answers',
    'AuditPart',
    'Drift',
    'DroppedAdapter',
    'LinearProbe',
    'MembershipInference',
    'MetricsByRole',
    'PrototypeProbe',
    'Relearning',
    'Similarity',
]
