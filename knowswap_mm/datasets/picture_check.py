"""A look at the files of a sample before they are decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from PIL import Image, UnidentifiedImageError

from knowswap_mm.datasets.picture_limit import picture_limit
from knowswap_mm.errors import SampleError
from knowswap_mm.limits import PIXELS


class PictureCheck:
    """Refuses addresses that the config does not ask for, and pictures of too many pixels.

    A file of some kilobytes can announce thousands of millions of pixels, and a decoder makes room
    for them. The size stands in the first bytes; no pixel is decoded here.

    Args:
        dataset (Mapping): Config of the host data set. If it names an address or a file backend,
            its pictures may lie in a remote storage.
    """

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self.remote = bool(dataset.get('backend_args')) or '://' in repr(
            [dataset.get(name) for name in ('data_root', 'data_prefix', 'ann_file')]
        )

    def __call__(self, data_info: Mapping[str, Any]) -> None:
        """Look at the files that a record names.

        Args:
            data_info (Mapping): A record of the host data set; fields ``*_path`` name files.

        Raises:
            SampleError: If one must not be opened.
        """
        for name, value in data_info.items():
            if not name.endswith('_path') or not isinstance(value, str):
                continue
            if '://' in value:
                if not self.remote:
                    raise SampleError(f'{value} is an address, and nothing is fetched')
            elif os.path.isfile(value):
                self._check_size(value)
            elif os.path.exists(value):  # whoever opens a pipe waits; what is missing is told later
                raise SampleError(f'{value} is no file')

    @staticmethod
    def _check_size(path: str) -> None:
        most = picture_limit()
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except Image.DecompressionBombError as error:
            raise SampleError(f'{path}: {error}. Set {PIXELS} if it is right') from error
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            return  # no picture that Pillow knows; its loader may know it, or tell
        if width * height > most:
            raise SampleError(
                f'{path} has {width} x {height} pixels, more than {most}. Set {PIXELS} if it is '
                'right'
            )
