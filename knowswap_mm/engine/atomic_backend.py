"""mmengine's local files, written whole or not at all."""

from __future__ import annotations

import os

from mmengine.fileio import LocalBackend, register_backend

from knowswap_mm.engine.atomic_file import write_atomic

ATOMIC = 'knowswap_mm.atomic'
NOWHERE = 'knowswap_mm.nowhere'


class AtomicBackend(LocalBackend):
    """Local files that replace what was there in one step; named ``knowswap_mm.atomic``."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes.

        Args:
            obj (bytes): The contents.
            filepath (str | PathLike): The file.

        Raises:
            CheckpointError: If they cannot be written.
        """
        write_atomic(filepath, lambda file: file.write(obj))

    def put_text(self, obj: str, filepath: str | os.PathLike, encoding: str = 'utf-8') -> None:
        """Write text.

        Args:
            obj (str): The contents.
            filepath (str | PathLike): The file.
            encoding (str): Its encoding.

        Raises:
            CheckpointError: If they cannot be written.
        """
        self.put(obj.encode(encoding), filepath)


class NowhereBackend(LocalBackend):
    """Takes what is written and keeps nothing; named ``knowswap_mm.nowhere``.

    A checkpoint written to it passes all hooks, which say what it would hold.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Drop bytes.

        Args:
            obj (bytes): The contents.
            filepath (str | PathLike): The file.
        """


register_backend(ATOMIC, AtomicBackend, force=True)
register_backend(NOWHERE, NowhereBackend, force=True)
