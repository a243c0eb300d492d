"""Images of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from knowswap_mm.registry import DRAWERS
from knowswap_mm.visualization.images.drawer import Drawer, Drawing, class_name, resized


@DRAWERS.register_module()
class ClassificationDrawer(Drawer):
    """The class is a word: nothing is drawn on the image."""

    def truth(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """The image and its class."""
        return Drawing(
            class_name(_label(record['gt_label']), classes), np.asarray(resized(image)[0])
        )

    def prediction(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """The most likely class and its probability."""
        label = _label(sample.pred_label)
        caption = f'{class_name(label, classes)} ({float(sample.pred_score[label]):.0%})'
        return Drawing(caption, right=label == _label(record['gt_label']))


def _label(value: Any) -> int:
    return int(np.asarray(value).reshape(-1)[0])
