"""The runner and its hooks."""

import sys

from knowswap_mm.installation import quick_imports

# transformers, which peft imports, would import scikit-learn and SciPy for two functions. Once it
# is there, it has decided whether they are.
_NEEDLESS = () if 'transformers' in sys.modules else ('sklearn', 'scipy')
with quick_imports(*_NEEDLESS):
    from knowswap_mm.engine.hooks.block_profile import BlockProfileHook
    from knowswap_mm.engine.hooks.checkpoint import SwapCheckpointHook
    from knowswap_mm.engine.hooks.feature_matching import FeatureMatchingHook
    from knowswap_mm.engine.hooks.guard import GuardHook
    from knowswap_mm.engine.hooks.importance import FisherHook, SaliencyMaskHook
    from knowswap_mm.engine.hooks.nonfinite import NonfiniteHook
    from knowswap_mm.engine.hooks.phase import PhaseHook
    from knowswap_mm.engine.hooks.preemption import PreemptionHook
    from knowswap_mm.engine.hooks.results import AuditHook, ReportHook, RoleImagesHook
    from knowswap_mm.engine.hooks.stall import StallHook
    from knowswap_mm.engine.hooks.teacher import TeacherHook, UndoHook
    from knowswap_mm.engine.hooks.untrained import UntrainedHook
    from knowswap_mm.engine.log import DeviceScalarsHook, SwapLogProcessor
    from knowswap_mm.engine.optim import SwapOptimWrapper, WarmupCosineLR
    from knowswap_mm.engine.runner import SwapRunner
    from knowswap_mm.runs.results import SwapResults

__all__ = [
    'AuditHook',
    'BlockProfileHook',
    'DeviceScalarsHook',
    'FeatureMatchingHook',
    'FisherHook',
    'GuardHook',
    'NonfiniteHook',
    'PhaseHook',
    'PreemptionHook',
    'ReportHook',
    'RoleImagesHook',
    'SaliencyMaskHook',
    'StallHook',
    'SwapCheckpointHook',
    'SwapLogProcessor',
    'SwapOptimWrapper',
    'SwapResults',
    'SwapRunner',
    'TeacherHook',
    'UndoHook',
    'UntrainedHook',
    'WarmupCosineLR',
]
