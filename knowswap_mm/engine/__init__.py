"""The runner and its hooks."""

from knowswap_mm.engine.hooks.audit_hook import AuditHook
from knowswap_mm.engine.hooks.block_profile_hook import BlockProfileHook
from knowswap_mm.engine.hooks.device_scalars_hook import DeviceScalarsHook
from knowswap_mm.engine.hooks.fisher_hook import FisherHook
from knowswap_mm.engine.hooks.nonfinite_hook import NonfiniteHook
from knowswap_mm.engine.hooks.phase_hook import PhaseHook
from knowswap_mm.engine.hooks.preemption_hook import PreemptionHook
from knowswap_mm.engine.hooks.report_hook import ReportHook
from knowswap_mm.engine.hooks.role_pictures_hook import RolePicturesHook
from knowswap_mm.engine.hooks.saliency_mask_hook import SaliencyMaskHook
from knowswap_mm.engine.hooks.stall_hook import StallHook
from knowswap_mm.engine.hooks.swap_checkpoint_hook import SwapCheckpointHook
from knowswap_mm.engine.hooks.untrained_hook import UntrainedHook
from knowswap_mm.engine.swap_log_processor import SwapLogProcessor
from knowswap_mm.engine.swap_optim_wrapper import SwapOptimWrapper
from knowswap_mm.engine.swap_results import SwapResults
from knowswap_mm.engine.swap_runner import SwapRunner

__all__ = [
    'AuditHook',
    'BlockProfileHook',
    'DeviceScalarsHook',
    'FisherHook',
    'NonfiniteHook',
    'PhaseHook',
    'PreemptionHook',
    'ReportHook',
    'RolePicturesHook',
    'SaliencyMaskHook',
    'StallHook',
    'SwapCheckpointHook',
    'SwapLogProcessor',
    'SwapOptimWrapper',
    'SwapResults',
    'SwapRunner',
    'UntrainedHook',
]
