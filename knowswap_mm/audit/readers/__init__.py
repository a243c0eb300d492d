"""How each task reads units off a host; one file a task."""

from knowswap_mm.audit.readers.classification import ClassificationReader
from knowswap_mm.audit.readers.detection import DetectionReader
from knowswap_mm.audit.readers.reader import UnitReader
from knowswap_mm.audit.readers.segmentation import SegmentationReader

__all__ = ['ClassificationReader', 'DetectionReader', 'SegmentationReader', 'UnitReader']
