"""Images of a segmentor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from knowswap_mm.registry import DRAWERS
from knowswap_mm.visualization.images.drawer import (
    SIZE,
    Drawer,
    Drawing,
    class_colour,
    class_name,
    resized,
)


@DRAWERS.register_module()
class SegmentationDrawer(Drawer):
    """The colour of each pixel's class over the image; the legend names the classes.

    Args:
        opacity (float): Of the colours.
        share (float): Classes on fewer pixels than this share of the image are drawn, not named.
        size (int): Longer side of a drawn image, in pixels.
    """

    def __init__(self, opacity: float = 0.6, share: float = 0.005, size: int = SIZE) -> None:
        self.opacity, self.share, self.size = opacity, share, size

    def truth(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """The annotated map; what is not annotated is left as it is."""
        return self._draw(image, sample.gt_sem_seg, classes)

    def prediction(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """The predicted map."""
        return self._draw(image, sample.pred_sem_seg, classes)

    def _draw(self, image: np.ndarray, pixels: Any, classes: Sequence[str]) -> Drawing:
        labels = pixels.data.squeeze(0).cpu().numpy()
        return draw_map(image, labels, classes, self.size, self.opacity, self.share)


def draw_map(
    image: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    size: int = SIZE,
    opacity: float = 0.6,
    share: float = 0.0,
) -> Drawing:
    """Draw the colour of each pixel's class over an image.

    Args:
        image (np.ndarray): RGB, ``(H, W, 3)``, uint8.
        labels (np.ndarray): Classes, ``(H, W)``; what is no class is left as it is.
        classes (Sequence[str]): Names of the classes.
        size (int): Longer side of what is drawn, in pixels.
        opacity (float): Of the colours.
        share (float): Classes on fewer pixels than this share of the image are not named.
    """
    small, _ = resized(image, size)
    map_of_labels = Image.fromarray(labels.astype(np.int32))
    labels = np.asarray(map_of_labels.resize(small.size, Image.Resampling.NEAREST))
    drawn = np.asarray(small).astype(np.float32)
    legend = []
    for label in np.unique(labels):
        if not 0 <= label < len(classes):  # not annotated
            continue
        where = labels == label
        colour = class_colour(int(label))
        paint = np.array(ImageColor.getrgb(colour), np.float32)
        drawn[where] = (1 - opacity) * drawn[where] + opacity * paint
        if where.mean() >= share:
            legend.append((class_name(int(label), classes), colour))
    caption = ', '.join(name for name, _ in legend) or 'nothing'
    return Drawing(caption, drawn.round().astype(np.uint8), legend=legend)
