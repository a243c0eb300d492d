"""The report of a run."""

from knowswap_mm.runs.outcome import Outcome
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.report.report import Report

__all__ = ['Outcome', 'Report', 'RunFolder']
