"""The schedule of a swap: which phase runs when, as a pure function of the iteration."""

from knowswap_mm.schedule.orders import ORDERS, phases_of_order
from knowswap_mm.schedule.schedule_change import ScheduleChange
from knowswap_mm.schedule.swap_phase import PHASE_KINDS, SwapPhase
from knowswap_mm.schedule.swap_schedule import SwapSchedule

__all__ = [
    'ORDERS',
    'PHASE_KINDS',
    'ScheduleChange',
    'SwapPhase',
    'SwapSchedule',
    'phases_of_order',
]
