"""How a task draws."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True)
class Drawing:
    """What a sample is, or what a model says of it.

    Attributes:
        caption (str): In words; it stands for the image where that is not seen.
        image (np.ndarray | None): RGB, ``(H, W, 3)``, uint8; None if there is nothing to draw on
            the image of the sample.
        right (bool | None): Whether a prediction is the truth, if that can be said in one word.
        legend (list[tuple[str, str]]): Class and colour (``#rrggbb``) of what was drawn.
    """

    caption: str
    image: np.ndarray | None = None
    right: bool | None = None
    legend: list[tuple[str, str]] = field(default_factory=list)


#: Longer side of an image of a report, in pixels: smaller ones are enlarged, larger ones shrunk.
SIZE = 256


class Drawer(metaclass=ABCMeta):
    """Draws samples of a task; the only part of the report that knows it.

    A :class:`RoleView` names its drawer in ``drawer``.
    """

    @abstractmethod
    def truth(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """Draw the annotations.

        Args:
            image (np.ndarray): Image of the sample, RGB, as annotated.
            sample: The host's data sample after the test pipeline.
            record (Mapping): The host data set's record with the labels of the swap.
            classes (Sequence[str]): Names of the classes.
        """

    @abstractmethod
    def prediction(
        self, image: np.ndarray, sample: Any, record: Mapping[str, Any], classes: Sequence[str]
    ) -> Drawing:
        """Draw what the model says; the sample has its predictions."""

    @staticmethod
    def image_of(batch: Mapping[str, Any], sample: Any) -> np.ndarray:
        """The image of a batch of one sample: its file, or else what the pipeline made of it.

        RGB, ``(H, W, 3)``, uint8.
        """
        path = sample.metainfo.get('img_path')
        if path:
            import mmcv  # only now: it imports torch

            return mmcv.imread(str(path), channel_order='rgb')
        # Hosts read images as BGR; an image without a file (CIFAR) is taken to be so as well.
        pixels = np.asarray(batch['inputs'][0]).transpose(1, 2, 0)[..., ::-1]
        return np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8))


def resized(image: np.ndarray, size: int = SIZE) -> tuple[Image.Image, float]:
    """The image (RGB, uint8) with a longer side of so many pixels, and the factor."""
    height, width = image.shape[:2]
    factor = size / max(height, width)
    sides = (max(round(width * factor), 1), max(round(height * factor), 1))
    # Small images keep their pixels.
    how = Image.Resampling.NEAREST if factor > 3 else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(sides, how), factor


def class_name(label: int, classes: Sequence[str]) -> str:
    """Name of a class; a spare row of the head has a number only."""
    return classes[label] if 0 <= label < len(classes) else f'row {label}'


def class_colour(label: int) -> str:
    """Colour of a class, the same in all images: hues by the golden angle, in three shades."""
    import colorsys

    red, green, blue = colorsys.hls_to_rgb(
        (0.06 + 0.381966 * label) % 1, (0.5, 0.66, 0.36)[label % 3], 0.85
    )
    return '#' + ''.join(f'{round(255 * part):02x}' for part in (red, green, blue))


def with_legend(
    image: np.ndarray, legend: Sequence[tuple[str, str]], letters: int = 16
) -> Image.Image:
    """An image with names and colours of classes beneath it, in letters of so many pixels."""
    font, line = ImageFont.load_default(letters), round(1.375 * letters)
    height, width = image.shape[:2]
    whole = Image.new('RGB', (width, height + line * len(legend)), 'white')
    whole.paste(Image.fromarray(image), (0, 0))
    pen = ImageDraw.Draw(whole)
    for number, (name, colour) in enumerate(legend):
        y, side = height + line * number, line - 8
        pen.rectangle((4, y + 4, 4 + side, y + 4 + side), fill=colour)
        pen.text((12 + side, y + 1), name, fill='black', font=font)
    return whole
