"""Puts a picture where it belongs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from PIL import Image

from knowswap_mm.datasets.picture_name import is_converted


def place(source: Path, target: Path, way: str, turned: bool = False) -> None:
    """Link or copy a picture; one that is there already, from an interrupted run, stays.

    Args:
        source (Path): The picture.
        target (Path): Where it goes.
        way (str): ``link`` (hard link, else symbolic link, else copy) or ``copy``.
        turned (bool): Whether readers would turn it by its EXIF entry, away from its annotations.
            It is then saved without the entry.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f'.{target.name}.part')
    if turned or target.suffix.lower() != source.suffix.lower() and is_converted(source.name):
        with Image.open(source) as picture:
            options = dict(quality='keep') if picture.format == 'JPEG' else {}
            kind = 'PNG' if is_converted(source.name) else picture.format
            exif = b'' if turned else picture.info.get('exif', b'')
            picture.save(half, kind, exif=exif, **options)
        half.rename(target)
        return
    if way == 'link':
        for make in (os.link, os.symlink):
            try:
                make(source, target)
                return
            except OSError:
                continue
    shutil.copyfile(source, half)
    half.rename(target)
