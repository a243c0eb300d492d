"""Images of samples and of what a model says of them; one drawer a task."""

from knowswap_mm.visualization.images.classification import ClassificationDrawer
from knowswap_mm.visualization.images.detection import DetectionDrawer
from knowswap_mm.visualization.images.drawer import Drawer, Drawing
from knowswap_mm.visualization.images.samples import SampleImages
from knowswap_mm.visualization.images.segmentation import SegmentationDrawer

__all__ = [
    'ClassificationDrawer',
    'DetectionDrawer',
    'Drawer',
    'Drawing',
    'SampleImages',
    'SegmentationDrawer',
]
