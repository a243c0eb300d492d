"""Which numbers occur in which semantic map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine import fileio

from knowswap_mm.datasets.images import cached_rows
from knowswap_mm.errors import ConfigError


class SemanticIndex:
    """Counts the pixels of every number in every map, once, and remembers the counts.

    Args:
        paths (Sequence[str]): The maps: grey or palette images of 8 bits.
        cache_dir (Path): Folder for the counts; their file is named by the paths, sizes and times
            of the maps, so that a changed map is read anew.
        key (str): Config key of the maps, for messages.
        backend_args (dict | None): File backend of the host data set.

    Attributes:
        counts (np.ndarray): Pixels by map and number, ``(maps, 256)``, int64.

    Raises:
        ConfigError: If a map is missing or is no image of integers below 256.
    """

    def __init__(
        self,
        paths: Sequence[str],
        cache_dir: Path,
        key: str,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        self.key, self.backend_args = key, backend_args
        self.counts: np.ndarray = cached_rows('maps', paths, cache_dir, 256, self._count)

    def _count(self, path: str) -> np.ndarray:
        fix = 'give the folder of the maps (data_prefix.seg_map_path) and their seg_map_suffix'
        if os.path.exists(path) and not os.path.isfile(path):  # whoever opens a pipe waits
            raise ConfigError(self.key, path, 'the map is no file', fix)
        try:
            content = fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise ConfigError(self.key, path, f'the map cannot be read ({error})', fix) from error
        try:
            values = mmcv.imfrombytes(content, flag='unchanged', backend='pillow')
        except Exception as error:  # a decoder may raise anything
            problem = f'the map is no image ({error})'
            raise ConfigError(self.key, path, problem, 'write or download it again') from error
        values = values[..., 0] if values.shape[2:] == (1,) else values
        if values.ndim != 2 or values.dtype.kind not in 'uib':
            problem = f'the map has {values.ndim} dimensions of {values.dtype}'
            raise ConfigError(self.key, path, problem, 'write grey or palette images of 8 bits')
        if values.size and not 0 <= int(values.max()) < 256:
            problem = f'the map holds the id {int(values.max())}'
            raise ConfigError(self.key, path, problem, 'ids go from 0 to 255, where 255 is none')
        return np.bincount(values.ravel().astype(np.uint8), minlength=256)
