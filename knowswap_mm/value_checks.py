"""Checks of single values of a config; each raises ConfigError with the key, the value, the fix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from knowswap_mm.errors import ConfigError


def check_flag(key: str, value: Any) -> None:
    """Require True or False.

    Args:
        key (str): Config key, like in the functions below.
        value: What was received.
    """
    if not isinstance(value, bool):
        raise ConfigError(key, value, 'neither True nor False', 'use one of them')


def check_whole(key: str, value: Any, least: int = 1, example: int | None = None) -> None:
    """Require a whole number that is large enough.

    Args:
        key (str): Config key.
        value: What was received.
        least (int): The smallest number that fits.
        example (int | None): What the message shows; ``least`` if None.
    """
    if type(value) is not int or value < least:
        shown = least if example is None else example
        raise ConfigError(key, value, f'not a whole number >= {least}', f'e.g. {shown}')


def check_between(key: str, value: Any, low: float, high: float, example: float) -> None:
    """Require a number above ``low`` and not above ``high``.

    Args:
        key (str): Config key.
        value: What was received.
        low (float): Does not fit itself.
        high (float): Fits itself, unless it is infinite.
        example (float): What the message shows.
    """
    number = type(value) in (int, float) and not math.isnan(value)
    if not number or not low < value <= high or abs(value) == math.inf:
        limits = f'> {low:g}' if high == math.inf else f'in ({low:g}, {high:g}]'
        raise ConfigError(key, value, f'not a finite number {limits}', f'e.g. {example:g}')


def check_text(key: str, value: Any, example: str) -> None:
    """Require text that is not empty.

    Args:
        key (str): Config key.
        value: What was received.
        example (str): What the message shows.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(key, value, 'no text', f'e.g. {example!r}')


def check_texts(key: str, value: Any, example: str) -> None:
    """Require a list of texts.

    Args:
        key (str): Config key.
        value: What was received.
        example (str): An entry, which the message shows.
    """
    listed = isinstance(value, (list, tuple))
    if not listed or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(key, value, 'no list of texts', f'e.g. [{example!r}]')


def check_mapping(key: str, value: Any, example: str) -> None:
    """Require a dict.

    Args:
        key (str): Config key.
        value: What was received.
        example (str): What the message shows.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(key, value, 'not a dict', f'write e.g. {example}')
