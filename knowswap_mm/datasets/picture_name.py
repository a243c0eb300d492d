"""Names of image files: which a list may give, and which hold an image at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

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

    Args:
        name (str): The name of a picture, or a relative path to it.

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
    """Whether a file or folder is left by an operating system: hidden (``._x.jpg``), thumbnails.

    Args:
        name (str): Its name without the folder.
    """
    return name.startswith('.') or name.lower() in _JUNK


def is_image_name(name: str) -> bool:
    """Whether a name is that of an image which the hosts' decoders read.

    Args:
        name (str): The name, in any case of letters.
    """
    return not is_junk(os.path.basename(name)) and name.lower().endswith(SUFFIXES)


def host_name(name: str) -> str:
    """The name under which the hosts' data sets find an image.

    Args:
        name (str): Its name.

    Returns:
        str: The same name, or one whose ending they know: ``a.jpg`` for ``a.jfif``.
    """
    path = PurePosixPath(name)
    return str(path.with_suffix(HOST_SUFFIXES.get(path.suffix.lower(), path.suffix)))


def is_converted(name: str) -> bool:
    """Whether :func:`host_name` gives the name of another format, so that the image is saved anew.

    Args:
        name (str): The name of the image as it is.
    """
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
