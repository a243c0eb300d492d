"""Objectives: what becomes of the role losses of a batch."""

from knowswap_mm.models.losses.objective import Objective
from knowswap_mm.models.losses.swapping_loss import SwappingLoss

__all__ = ['Objective', 'SwappingLoss']
