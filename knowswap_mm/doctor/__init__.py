"""``knowswap doctor``: what an installation lacks, and how to mend it."""

from knowswap_mm.doctor.check import Check
from knowswap_mm.doctor.examination import Examination
from knowswap_mm.doctor.finding import Finding

__all__ = ['Check', 'Examination', 'Finding']
