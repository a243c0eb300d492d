"""How large a file from elsewhere may be; an environment variable changes each limit."""

from __future__ import annotations

import os

from knowswap_mm.errors import ConfigError

#: Bytes of a small json file: class lists, manifests, schedules, results.
JSON_BYTES = 'KNOWSWAP_MM_MAX_JSON_BYTES'
#: Bytes of a json file with the annotations of a data set.
ANNOTATION_BYTES = 'KNOWSWAP_MM_MAX_ANNOTATION_BYTES'
#: Pixels of a picture; the default is the number at which Pillow refuses one, too.
PIXELS = 'KNOWSWAP_MM_MAX_PIXELS'
_DEFAULTS = {JSON_BYTES: 64 << 20, ANNOTATION_BYTES: 4 << 30, PIXELS: 178_956_970}


def limit_of(name: str) -> int:
    """A limit that holds now.

    Args:
        name (str): One of the names above.

    Returns:
        int: Bytes or pixels.

    Raises:
        ConfigError: If the environment variable is no whole number above 0.
    """
    given = os.environ.get(name)
    if given is None:
        return _DEFAULTS[name]
    if not given.isascii() or not given.isdigit() or int(given[:20]) < 1:
        fix = f'e.g. {_DEFAULTS[name]}, or leave it unset'
        raise ConfigError(name, given, 'no whole number above 0', fix)
    return int(given[:20])
