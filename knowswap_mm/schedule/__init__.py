"""The schedule of a swap: which phase runs when, as a pure function of the iteration."""

from knowswap_mm.schedule.change import ScheduleChange
from knowswap_mm.schedule.decisions import DECISION_KINDS, Decision
from knowswap_mm.schedule.phase import PHASE_KINDS, Segment, SwapPhase
from knowswap_mm.schedule.schedule import ORDERS, RateSpan, SwapSchedule, phases_of_order

__all__ = [
    'DECISION_KINDS',
    'ORDERS',
    'PHASE_KINDS',
    'Decision',
    'RateSpan',
    'ScheduleChange',
    'Segment',
    'SwapPhase',
    'SwapSchedule',
    'phases_of_order',
]
