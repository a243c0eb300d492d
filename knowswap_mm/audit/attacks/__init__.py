"""Attacks and descriptions; one file each."""

from knowswap_mm.audit.attacks.answer_distance import AnswerDistance
from knowswap_mm.audit.attacks.answers import Answers
from knowswap_mm.audit.attacks.drift import Drift
from knowswap_mm.audit.attacks.dropped_adapter import DroppedAdapter
from knowswap_mm.audit.attacks.knn_probe import KNNProbe
from knowswap_mm.audit.attacks.linear_probe import LinearProbe
from knowswap_mm.audit.attacks.membership_inference import MembershipInference
from knowswap_mm.audit.attacks.metrics_by_role import MetricsByRole
from knowswap_mm.audit.attacks.prototype_probe import PrototypeProbe
from knowswap_mm.audit.attacks.prototype_relearning import PrototypeRelearning
from knowswap_mm.audit.attacks.relearning import Relearning
from knowswap_mm.audit.attacks.similarity import Similarity
from knowswap_mm.audit.attacks.visual_prompt import VisualPrompt

#: Names of the parts, in the order of the report.
PARTS = tuple(
    part.__name__
    for part in (
        Answers,
        AnswerDistance,
        DroppedAdapter,
        LinearProbe,
        KNNProbe,
        PrototypeProbe,
        VisualPrompt,
        MembershipInference,
        Relearning,
        PrototypeRelearning,
        MetricsByRole,
        Similarity,
        Drift,
    )
)
