"""A look at a pickle before it is read."""

from __future__ import annotations

import io
import pickle
import pickletools

_PUTS = ('PUT', 'BINPUT', 'LONG_BINPUT')
_EXTENSIONS = ('EXT1', 'EXT2', 'EXT4')


def check_pickle(content: bytes) -> None:
    """Refuse a pickle that Python would need far more memory for than the file has bytes.

    A memo is as large as its highest number, which a file of eight bytes may set to four thousand
    millions. Nothing is built here, and nothing is executed.

    Args:
        content (bytes): The pickle.

    Raises:
        pickle.UnpicklingError: If it does that, or refers to the registry of extensions.
        ValueError: If it is cut off or no pickle.
    """
    for opcode, argument, position in pickletools.genops(io.BytesIO(content)):
        if opcode.name in _PUTS and int(argument) > position:
            raise pickle.UnpicklingError(f'memo number {argument} at byte {position}')
        if opcode.name in _EXTENSIONS:
            raise pickle.UnpicklingError(f'extension {argument} is no data')
