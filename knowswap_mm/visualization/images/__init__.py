"""Images of samples and of what a model says of them; one drawer a task.

Converters of data draw with them, too, so nothing here but :mod:`.samples` imports torch.
"""

from knowswap_mm.visualization.images.classification import ClassificationDrawer
from knowswap_mm.visualization.images.detection import DetectionDrawer
from knowswap_mm.visualization.images.drawer import Drawer, Drawing
from knowswap_mm.visualization.images.segmentation import SegmentationDrawer

__all__ = [
    'ClassificationDrawer',
    'DetectionDrawer',
    'Drawer',
    'Drawing',
    'SegmentationDrawer',
]
