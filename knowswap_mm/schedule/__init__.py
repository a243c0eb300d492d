"""The schedule of a swap: which phase runs when, as a pure function of the iteration."""

from knowswap_mm.schedule.change import ScheduleChange
from knowswap_mm.schedule.phase import PHASE_KINDS, SwapPhase
from knowswap_mm.schedule.schedule import ORDERS, SwapSchedule, phases_of_order

__all__ = [
    'ORDERS',
    'PHASE_KINDS',
    'ScheduleChange',
    'SwapPhase',
    'SwapSchedule',
    'phases_of_order',
]
