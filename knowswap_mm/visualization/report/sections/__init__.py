"""Sections of the report; one file each."""

from knowswap_mm.visualization.report.sections.answer import Answer
from knowswap_mm.visualization.report.sections.audit import Audit
from knowswap_mm.visualization.report.sections.configuration import Configuration
from knowswap_mm.visualization.report.sections.cost import Cost
from knowswap_mm.visualization.report.sections.data import Data
from knowswap_mm.visualization.report.sections.losses import Losses
from knowswap_mm.visualization.report.sections.phases import Phases
from knowswap_mm.visualization.report.sections.samples import Samples
from knowswap_mm.visualization.report.sections.where import Where

__all__ = [
    'Answer',
    'Audit',
    'Configuration',
    'Cost',
    'Data',
    'Losses',
    'Phases',
    'Samples',
    'Where',
]
