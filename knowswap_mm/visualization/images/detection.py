"""Images of a detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import ImageDraw, ImageFont

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
class DetectionDrawer(Drawer):
    """Boxes with the names of their classes.

    Args:
        score (float): Confidence from which a box is drawn.
        size (int): Longer side of a drawn image, in pixels.
    """

    def __init__(self, score: float = 0.3, size: int = SIZE) -> None:
        self.score, self.size = score, size

    def truth(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """The annotated objects of the role."""
        objects = [each for each in record['instances'] if not each.get('ignore_flag')]
        boxes = [(each['bbox'], each['bbox_label']) for each in objects]
        return draw_boxes(image, boxes, classes, self.size)

    def prediction(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """The boxes of which the model is sure enough."""
        found = sample.pred_instances
        found = found[found.scores >= self.score]
        boxes = zip(found.bboxes.tolist(), found.labels.tolist(), strict=True)
        return draw_boxes(image, list(boxes), classes, self.size)


def draw_boxes(
    image: np.ndarray,
    boxes: Sequence[tuple[Sequence[float], int]],
    classes: Sequence[str],
    size: int = SIZE,
) -> Drawing:
    """Draw boxes and their names.

    Args:
        image (np.ndarray): RGB, ``(H, W, 3)``, uint8.
        boxes (Sequence): Of each its corners (x, y, x, y) in pixels of the image, and its class.
        classes (Sequence[str]): Names of the classes.
        size (int): Longer side of what is drawn, in pixels.
    """
    drawn, factor = resized(image, size)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(18)
    for box, label in boxes:
        colour = class_colour(label)
        left, top, right, bottom = (factor * each for each in box)
        right, bottom = max(right, left), max(bottom, top)
        pen.rectangle((left, top, right, bottom), outline=colour, width=3)
        text = class_name(label, classes)
        place = pen.textbbox((0, 0), text, font=font, stroke_width=2)
        x = min(max(left, 2), max(drawn.width - place[2], 0))
        y = top - place[3] - 2 if top > place[3] + 2 else min(top + 3, drawn.height - place[3])
        pen.text((x, y), text, fill='white', font=font, stroke_width=2, stroke_fill='black')
    counts = Counter(label for _, label in boxes)
    parts = [
        f'{count} × {class_name(label, classes)}' if count > 1 else class_name(label, classes)
        for label, count in sorted(counts.items())
    ]
    legend = [(class_name(label, classes), class_colour(label)) for label in sorted(counts)]
    return Drawing(', '.join(parts) or 'nothing', np.asarray(drawn), legend=legend)
