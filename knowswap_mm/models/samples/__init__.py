"""Losses and features by sample, read from what passes through a host in its one loss call."""

from knowswap_mm.models.samples.classifier import ClassifierReader
from knowswap_mm.models.samples.dense import DenseReader
from knowswap_mm.models.samples.depth import Depth
from knowswap_mm.models.samples.queries import QueryReader
from knowswap_mm.models.samples.reader import SampleLosses, SampleReader, reader_of

__all__ = [
    'ClassifierReader',
    'DenseReader',
    'Depth',
    'QueryReader',
    'SampleLosses',
    'SampleReader',
    'reader_of',
]
