"""Files of images: their names, a look at them before they are decoded, what is remembered."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from knowswap_mm.errors import SampleError
from knowswap_mm.io.files import files_digest, write_cached
from knowswap_mm.io.text_files import PIXELS, limit_of


def pixel_limit() -> int:
    """The number of pixels above which no image is decoded, by Pillow in this process either.

    Raises:
        ConfigError: If the environment variable is no number.
    """
    most = limit_of(PIXELS)
    Image.MAX_IMAGE_PIXELS = most // 2  # Pillow warns from there on, and refuses twice as many
    return most


#: Endings of image files that the hosts' decoders read, lower case: the one list for the converters
#: and for the data sets of the hosts (issue 24).
SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.dib', '.webp', '.tif', '.tiff',
    '.ppm', '.pgm', '.pbm', '.pnm',
)  # fmt: skip
#: What becomes of endings that the hosts' data sets do not read by themselves. WebP is saved as PNG
#: with the same pixels; the others are another name for the same contents.
HOST_SUFFIXES = dict.fromkeys(('.jpe', '.jfif'), '.jpg') | {
    '.tiff': '.tif', '.dib': '.bmp', '.webp': '.png', '.pbm': '.ppm', '.pnm': '.ppm',
}  # fmt: skip
#: Image files that no decoder of the hosts reads.
OTHER_IMAGES = ('.gif', '.heic', '.heif', '.avif', '.jp2', '.jxl', '.svg', '.ico', '.psd', '.raw',
                '.dng', '.cr2', '.nef', '.arw', '.exr', '.hdr', '.tga', '.npy')  # fmt: skip
_JUNK = ('thumbs.db', 'desktop.ini', 'ehthumbs.db', '__macosx', '@eadir', '$recycle.bin')


def name_problem(name: str) -> str | None:
    """Why a name in a list must not be joined to a folder.

    Returns:
        str | None: The end of a sentence that begins with the name; None if it stays in the folder.
    """
    if not name or '\0' in name:
        return 'is no name'
    if '://' in name:
        return 'is an address'
    if name.startswith('/'):
        return 'is an absolute path'
    if '..' in PurePosixPath(name).parts:
        return 'leads out of the folder'
    return None


def is_junk(name: str) -> bool:
    """Whether a file or folder is left by an operating system: hidden (``._x.jpg``), thumbnails."""
    return name.startswith('.') or name.lower() in _JUNK


def is_image_name(name: str) -> bool:
    """Whether a name is that of an image which the hosts' decoders read."""
    return not is_junk(os.path.basename(name)) and name.lower().endswith(SUFFIXES)


def host_name(name: str) -> str:
    """The name under which the hosts' data sets find an image: ``a.jpg`` for ``a.jfif``."""
    path = PurePosixPath(name)
    return str(path.with_suffix(HOST_SUFFIXES.get(path.suffix.lower(), path.suffix)))


def is_converted(name: str) -> bool:
    """Whether :func:`host_name` names another format, so that the image is saved anew."""
    return name.lower().endswith('.webp')


def skipped_files(
    folder: str | Path, read: Collection[str] = (), suffixes: Collection[str] = ()
) -> Counter[str]:
    """Count the images in and below a folder that a data set has passed over.

    Args:
        folder (str | Path): The folder; a remote one, or one that is not there, counts as empty.
        read (Collection[str]): Absolute paths of the files that were read.
        suffixes (Collection[str]): Endings of files that were read, in lower case, instead.

    Returns:
        Counter[str]: Images by ending; what operating systems leave there does not count.
    """
    found: Counter[str] = Counter()
    if '://' in str(folder):
        return found
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not is_junk(name)]
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            known = is_image_name(name) or (ending in OTHER_IMAGES and not is_junk(name))
            if not known or (suffixes and ending in suffixes):
                continue
            if not read or os.path.abspath(os.path.join(place, name)) not in read:
                found[ending] += 1
    return found


def image_root(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Split paths into the folder that they share, as an absolute path, and what follows it.

    Args:
        paths (Sequence[str]): Paths, relative to the working directory or absolute; or addresses
            of a remote storage, which stay as they are.

    Returns:
        tuple[str, list[str]]: The folder, empty for addresses, and the paths within it.
    """
    if not paths or any('://' in path for path in paths):
        return '', list(paths)
    whole = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    return root, [os.path.relpath(path, root) for path in whole]


def absolute(path: str | None) -> str:
    """A folder as an absolute path; an address of a remote storage stays as it is."""
    path = path or ''
    return path if '://' in path else os.path.abspath(os.path.expanduser(path))


class ImageCheck:
    """Refuses addresses that the config does not ask for, and images of too many pixels.

    A file of some kilobytes can announce thousands of millions of pixels, and a decoder makes room
    for them. The size stands in the first bytes; no pixel is decoded here.

    Args:
        dataset (Mapping): Config of the host data set. If it names an address or a file backend,
            its images may lie in a remote storage.
    """

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self.remote = bool(dataset.get('backend_args')) or '://' in repr(
            [dataset.get(name) for name in ('data_root', 'data_prefix', 'ann_file')]
        )

    def __call__(self, data_info: Mapping[str, Any]) -> None:
        """Look at the files that a record names in its fields ``*_path``.

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
        most = pixel_limit()
        try:
            with Image.open(path) as opened:
                width, height = opened.size
        except Image.DecompressionBombError as error:
            raise SampleError(f'{path}: {error}. Set {PIXELS} if it is right') from error
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            return  # no image that Pillow knows; its loader may know it, or tell
        if width * height > most:
            raise SampleError(
                f'{path} has {width} x {height} pixels, more than {most}. Set {PIXELS} if it is '
                'right'
            )


#: Threads that read: most wait for the disk, and decoding leaves the interpreter's lock.
_READERS = 8
#: Bytes of numpy's header are far fewer.
_HEADER = 4096


def cached_rows(
    kind: str,
    paths: Sequence[str],
    cache_dir: Path,
    columns: int,
    read: Callable[[str], Sequence[int] | np.ndarray],
) -> np.ndarray:
    """Read some numbers of each file once, and remember them until a file changes.

    Args:
        kind (str): Begins the name of what is remembered; the rest are the paths, sizes and times.
        paths (Sequence[str]): The files.
        cache_dir (Path): Folder for what is remembered, see :func:`cache_folder`.
        columns (int): How many numbers.
        read (Callable): Gives the numbers of a file, from 0 on.

    Returns:
        np.ndarray: int64, ``(files, columns)``.
    """
    pixel_limit()
    digest = files_digest(paths)
    path = None if digest is None else cache_dir / f'{kind}_{digest}.npy'
    shape = (len(paths), columns)
    if path is not None and path.is_file():
        try:
            if path.stat().st_size <= len(paths) * columns * 8 + _HEADER:
                rows = np.load(path, allow_pickle=False)
                if rows.shape == shape and rows.dtype == np.int64 and (rows >= 0).all():
                    return rows
        except Exception:  # a file of another origin may raise anything; the files are read anew
            pass
    with ThreadPoolExecutor(_READERS) as pool:
        rows = np.array(list(pool.map(read, paths)), np.int64).reshape(shape)
    if path is not None:
        write_cached(path, lambda file: np.save(file, rows))
    return rows
