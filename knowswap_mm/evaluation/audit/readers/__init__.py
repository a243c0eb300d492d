"""How each task reads units off a host; one file a task."""

from knowswap_mm.evaluation.audit.readers.classification_reader import ClassificationReader
from knowswap_mm.evaluation.audit.readers.detection_reader import DetectionReader
from knowswap_mm.evaluation.audit.readers.segmentation_reader import SegmentationReader
from knowswap_mm.evaluation.audit.readers.unit_reader import UnitReader

__all__ = ['ClassificationReader', 'DetectionReader', 'SegmentationReader', 'UnitReader']
