"""Pictures of samples and of what a model says of them; one drawer a task."""

from knowswap_mm.visualization.pictures.classification_drawer import ClassificationDrawer
from knowswap_mm.visualization.pictures.detection_drawer import DetectionDrawer
from knowswap_mm.visualization.pictures.drawer import Drawer
from knowswap_mm.visualization.pictures.drawing import Drawing
from knowswap_mm.visualization.pictures.sample_pictures import SamplePictures
from knowswap_mm.visualization.pictures.segmentation_drawer import SegmentationDrawer

__all__ = [
    'ClassificationDrawer',
    'DetectionDrawer',
    'Drawer',
    'Drawing',
    'SamplePictures',
    'SegmentationDrawer',
]
