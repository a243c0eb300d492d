"""A picture of a sample, with its words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Drawing:
    """What a sample is, or what a model says of it.

    Attributes:
        caption (str): In words; it stands for the picture where that is not seen.
        image (np.ndarray | None): RGB, ``(H, W, 3)``, uint8; None if there is nothing to draw on
            the picture of the sample.
        right (bool | None): Whether a prediction is the truth, if that can be said in one word.
        legend (list[tuple[str, str]]): Class and colour (``#rrggbb``) of what was drawn.
    """

    caption: str
    image: np.ndarray | None = None
    right: bool | None = None
    legend: list[tuple[str, str]] = field(default_factory=list)
