"""Whether annotations fit the images as the host loads them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log
from PIL import Image

from knowswap_mm.datasets.host_config import ORIENTATION, image_loader, turns, without_turning
from knowswap_mm.datasets.images import cached_rows
from knowswap_mm.errors import ConfigError

#: Formats that may have an orientation; MPO is the JPEG of some phones.
FORMATS = ('', 'JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF')
_SIDEWAYS = range(5, 9)


class Header(NamedTuple):
    """What a file says of its image.

    Attributes:
        width (int): Pixels as stored; 0 if it is not known.
        height (int): Likewise.
        orientation (int): EXIF's number, 1 (upright) to 8.
        form (str): Format, if one of :data:`FORMATS`.
    """

    width: int
    height: int
    orientation: int
    form: str

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height once turned as the orientation says."""
        return self.stored[::-1] if self.orientation in _SIDEWAYS else self.stored


def image_headers(paths: Sequence[str], cache_dir: Path) -> list[Header]:
    """Read the headers once, and remember them until a file changes.

    Returns:
        list[Header]: One an image; of width 0 for addresses and what Pillow does not know.
    """
    rows = cached_rows('headers', paths, cache_dir, 4, _read)
    return [Header(w, h, o, FORMATS[f] if f < len(FORMATS) else '') for w, h, o, f in rows.tolist()]


def _read(path: str) -> tuple[int, int, int, int]:
    if '://' in path or not os.path.isfile(path):  # whoever opens a pipe waits
        return 0, 0, 1, 0
    try:
        with Image.open(path) as image:
            width, height = image.size
            form = image.format if image.format in FORMATS else ''
            orientation = 1
            # Pillow decodes a whole PNG in search of an entry that does not stand at its beginning.
            if form and (form != 'PNG' or 'exif' in image.info):
                orientation = image.getexif().get(ORIENTATION, 1)
            if not isinstance(orientation, int) or not 1 <= orientation <= 8:
                orientation = 1
            if form == 'TIFF' and orientation in _SIDEWAYS:  # Pillow gives its size as shown
                width, height = height, width
    except Exception:  # no image that Pillow knows, or a damaged one: the loader will tell
        return 0, 0, 1, 0
    return width, height, orientation, FORMATS.index(form)


SHOWN, STORED = 'shown', 'stored'
FRAMES = (SHOWN, STORED)


def check_there(key: str, paths: Sequence[str], on_bad_sample: str) -> None:
    """Require the images of a role before the training comes upon the first that is missing.

    Addresses are not looked at; ``on_bad_sample='skip'`` warns as long as one is there.

    Raises:
        ConfigError: If one is missing.
    """
    missing = [path for path in paths if '://' not in path and not os.path.lexists(path)]
    if not missing:
        return
    problem = f'{len(missing)} of {len(paths)} images are not there'
    fix = "fix data_root or data_prefix, or put them there; on_bad_sample='skip' goes on without"
    if on_bad_sample == 'skip' and len(missing) < len(paths):
        text = f'{key}.dataset: {problem} (e.g. {missing[0]}); they are skipped.'
        print_log(text, logger='current', level=logging.WARNING)
        return
    raise ConfigError(f'{key}.dataset.data_prefix', missing[0], problem, fix)


class ImageFrame:
    """Compares the size of each file with the announced one, and settles EXIF orientations.

    A camera stores a turned image as the sensor saw it, with an entry that says how to show it.
    Loaders follow the entry, and so do some tools for annotation. Where an image is not square, its
    announced size tells which pixels its annotations count, and the other images of the data are
    taken to be alike. The loader is then made to do the same, or the data is refused.

    Args:
        key (str): Config key of the role.
        given (str | None): ``shown`` or ``stored`` if the config says so.
        source (str): What announces the sizes, for messages.

    Raises:
        ConfigError: If ``given`` is neither.
    """

    def __init__(self, key: str, given: str | None, source: str) -> None:
        if given is not None and given not in FRAMES:
            problem = 'unknown orientation'
            raise ConfigError(f'{key}.orientation', given, problem, f'use one of {FRAMES}, or None')
        self.key, self.given, self.source = key, given, source

    def settle(
        self,
        pipeline: Any,
        paths: Sequence[str],
        sizes: Sequence[tuple[int, int]],
        headers: Sequence[Header],
    ) -> Any:
        """Find out which pixels the annotations count.

        Args:
            pipeline: Config of the host's pipeline.
            paths (Sequence[str]): The images.
            sizes (Sequence[tuple[int, int]]): Announced width and height of each.
            headers (Sequence[Header]): What the files say.

        Returns:
            The pipeline, with an image loader that does not turn images if annotations count
            pixels as stored.

        Raises:
            ConfigError: If a size does not fit, or it cannot be known how images must be loaded.
        """
        votes: dict[str, str] = {}
        oriented, wrong = [], []
        for path, size, header in zip(paths, sizes, headers, strict=True):
            if not header.width:
                continue
            if tuple(size) not in (header.stored, header.shown):
                wrong.append((path, size, header))
            elif header.orientation != 1:
                oriented.append((path, header))
                if header.stored != header.shown:
                    votes.setdefault(STORED if tuple(size) == header.stored else SHOWN, path)
        if wrong:
            path, size, header = wrong[0]
            problem = (
                f'the file has {header.width} x {header.height} pixels, {self.source} is for '
                f'{size[0]} x {size[1]} ({len(wrong)} of {len(paths)} images do not fit)'
            )
            fix = 'use the images that were annotated, or scale the annotations with the images'
            raise ConfigError(f'{self.key}.dataset', path, problem, fix)
        if not oriented:
            return pipeline
        return self._follow(self._decide(votes, oriented[0][0], pipeline), oriented, pipeline)

    def _decide(self, votes: dict[str, str], first: str, pipeline: Any) -> str:
        loader = image_loader(pipeline) or {}
        chosen = self.given
        if chosen is None and str(loader.get('color_type')).endswith('_ignore_orientation'):
            chosen = STORED
        other = {SHOWN: STORED, STORED: SHOWN}.get(chosen)
        if len(votes) == 2 or other in votes:
            told = ', '.join(f'as {frame} in {path}' for frame, path in votes.items())
            problem = f'by its size, {self.source} counts pixels {told}'
            fix = 'save the images upright, without an EXIF orientation'
            if len(votes) == 1:
                fix = f'use {other!r}, and color_type="color" in LoadImageFromFile if it is shown'
            raise ConfigError(f'{self.key}.orientation', chosen, problem, fix)
        if chosen is None and not votes:
            problem = (
                f'{first} is turned by its EXIF orientation, and its size does not tell whether '
                f'{self.source} counts pixels as shown or as stored'
            )
            fix = "use 'shown' if a viewer shows annotations in their place, else 'stored'"
            raise ConfigError(f'{self.key}.orientation', None, problem, fix)
        return chosen or next(iter(votes))

    def _follow(self, frame: str, oriented: list[tuple[str, Header]], pipeline: Any) -> Any:
        loader = image_loader(pipeline)
        about = f'{len(oriented)} images have an EXIF orientation (e.g. {oriented[0][0]})'
        if loader is None:
            text = f'{self.key}: {about}; the pipeline must load them as {frame}.'
            print_log(text, logger='current', level=logging.WARNING)
            return pipeline
        if frame == STORED and any(turns(loader, header.form) for _, header in oriented):
            pipeline = without_turning(pipeline)
            loader = image_loader(pipeline)
            print_log(
                f'{self.key}: {about}, and {self.source} counts pixels as stored: they are loaded '
                f'without turning (color_type={loader.get("color_type")!r}).',
                logger='current',
            )
        for path, header in oriented:
            if turns(loader, header.form) != (frame == SHOWN):
                does = 'turns' if frame == STORED else 'does not turn'
                problem = f'annotations count pixels as {frame}, and the loader {does} this file'
                fix = 'save it upright, without an EXIF orientation'
                if frame == SHOWN:
                    fix += ', or set color_type="color" in LoadImageFromFile'
                raise ConfigError(f'{self.key}.dataset.pipeline', path, problem, fix)
        return pipeline
