"""``knowswap doctor``: what an installation lacks, and how to fix it."""

from knowswap_mm.doctor.examination import Check, Examination, Finding

__all__ = ['Check', 'Examination', 'Finding']
