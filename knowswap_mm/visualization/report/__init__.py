"""The report of a run."""

from knowswap_mm.visualization.report.outcome import Outcome
from knowswap_mm.visualization.report.report import Report
from knowswap_mm.visualization.report.run_folder import RunFolder

__all__ = ['Outcome', 'Report', 'RunFolder']
