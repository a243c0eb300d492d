"""Reads Fashion-MNIST from its four gzipped idx files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

#: Class names in label order (label 0 is 't-shirt').
FASHION_CLASSES = tuple('t-shirt trouser pullover dress coat sandal shirt sneaker bag boot'.split())
#: Where the Debian package ``dataset-fashion-mnist`` puts the files.
DEBIAN_FOLDER = Path('/usr/share/datasets/fashion-mnist')
#: Image file, label file and number of images of each part.
PARTS = {
    'train': ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz', 60000),
    'test': ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz', 10000),
}
#: Bytes of the largest of them, unpacked.
_LONGEST = 16 + 60000 * 28 * 28
FIX = (
    'install the Debian package `dataset-fashion-mnist`, or download the four .gz files of '
    'Fashion-MNIST and name their folder with `--source`'
)


def find_source(source: str | Path | None = None) -> Path:
    """The folder if it has the four idx files; by default that of the Debian package."""
    folder = DEBIAN_FOLDER if source is None else Path(source)
    names = [name for images, labels, _ in PARTS.values() for name in (images, labels)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f'Fashion-MNIST: {folder} has no {", ".join(missing)}; {FIX}.')
    return folder


def hash_source(folder: str | Path) -> str:
    """SHA-256 over the names and contents of the four files."""
    digest = hashlib.sha256()
    for images, labels, _ in PARTS.values():
        for name in (images, labels):
            digest.update(name.encode())
            digest.update((Path(folder) / name).read_bytes())
    return digest.hexdigest()


def read_idx(path: str | Path) -> np.ndarray:
    """Reads one gzipped idx file of unsigned bytes, of labels or of images.

    Returns:
        np.ndarray: uint8 array in the shape that the file's header states.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there; {FIX}.')
    try:
        with gzip.open(path, 'rb') as file:
            data = file.read(_LONGEST + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f'{path} is cut off or no gzip file ({error}); {FIX}.') from error
    if len(data) > _LONGEST:
        raise ValueError(f'{path} unpacks to more than {_LONGEST} bytes; {FIX}.')
    magic = data[:4]
    if len(magic) < 4 or magic[:3] != b'\0\0\x08' or magic[3] not in (1, 3):
        raise ValueError(
            f'{path} begins with {magic.hex() or "nothing"}, not with the idx magic '
            f'number 00000801 (labels) or 00000803 (images); {FIX}.'
        )
    start = 4 + 4 * magic[3]
    if len(data) < start:
        raise ValueError(f'{path} ends inside its header; {FIX}.')
    shape = struct.unpack(f'>{magic[3]}I', data[4:start])
    count = int(np.prod(shape, dtype=np.int64))
    if len(data) - start != count:
        raise ValueError(
            f'{path} announces {count} bytes (shape {shape}) but holds {len(data) - start}; {FIX}.'
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def load_part(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Loads the 'train' (60,000) or 'test' (10,000) images.

    Returns:
        tuple: Images, uint8 (N, 28, 28), and labels, uint8 (N, ).
    """
    if part not in PARTS:
        raise ValueError(f'part must be one of {sorted(PARTS)}, not {part!r}.')
    image_name, label_name, count = PARTS[part]
    image_path, label_path = Path(folder) / image_name, Path(folder) / label_name
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.shape != (count, 28, 28):
        raise ValueError(f'{image_path} has shape {images.shape}, not {(count, 28, 28)}; {FIX}.')
    if labels.shape != (count,):
        raise ValueError(f'{label_path} has shape {labels.shape}, not {(count,)}; {FIX}.')
    if labels.max() >= len(FASHION_CLASSES):
        raise ValueError(f'{label_path} has a label {labels.max()} above 9; {FIX}.')
    return images, labels


def hold_out(labels: np.ndarray, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits off the last ``per_class`` images of every class.

    Taking them from the end keeps them apart from any limit, which counts from the start.

    Returns:
        tuple: Sorted positions of the kept and of the held-out images.
    """
    if per_class < 0:
        raise ValueError(f'per_class must be 0 or more, not {per_class}.')
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        if per_class >= len(places):
            raise ValueError(
                f'Cannot hold out {per_class} of the {len(places)} images of class '
                f'{label}: none would be left; ask for fewer (--val-per-class).'
            )
        held[places[len(places) - per_class :]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
