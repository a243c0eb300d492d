"""Pillow's own limit follows ours."""

from __future__ import annotations

from PIL import Image

from knowswap_mm.limits import PIXELS, limit_of


def picture_limit() -> int:
    """The number of pixels above which no picture is decoded, by Pillow in this process either.

    Returns:
        int: Pixels.

    Raises:
        ConfigError: If the environment variable is no number.
    """
    most = limit_of(PIXELS)
    Image.MAX_IMAGE_PIXELS = most // 2  # Pillow warns from there on, and refuses twice as many
    return most
