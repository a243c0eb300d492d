"""Trees of data: all of one or nothing, and only when it is not there yet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from knowswap_mm.io.files import write_folder

MANIFEST = 'manifest.json'
#: In an unfinished tree: what was asked for.
REQUEST = '.request.json'
#: Number of files of each folder, and other files.
Expected = tuple[Mapping[str, int], Iterable[str]]


def load_manifest(root: Path) -> dict | None:
    """The manifest of a tree that this module wrote, whatever became of the tree since."""
    try:
        manifest = json.loads((root / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    keys = ('request', 'counts')
    known = isinstance(manifest, dict) and all(isinstance(manifest.get(k), dict) for k in keys)
    return manifest if known else None


def read_whole(root: str | Path, expect: Callable[[dict], Expected]) -> dict | None:
    """The manifest of a tree that has all it had when it was written, else None.

    ``expect`` tells from the manifest's counts what must be there.
    """
    root = Path(root)
    manifest = load_manifest(root)
    if manifest is None:
        return None
    try:
        folders, files = expect(manifest['counts'])
        whole = all((root / file).stat() for file in files) and all(
            sum(1 for _ in (root / folder).iterdir()) == count for folder, count in folders.items()
        )
    except (OSError, AttributeError, TypeError):  # gone, or the counts of a tree of another kind
        return None
    return manifest if whole else None


def write_tree(
    root: str | Path,
    request: Mapping[str, Any],
    build: Callable[[Path], Mapping[str, Any]],
    read_manifest: Callable[[Path], dict | None],
    resume: bool = False,
) -> bool:
    """Write a tree beside its place and rename it at the end, so that one with a manifest is whole.

    Several processes may write one root: the last one that ends has it (issue 25).

    Args:
        root (str | Path): The folder to write.
        request (Mapping): What defines the tree, as plain json values. A finished tree of the
            same request is left alone.
        build (Callable): Writes the tree into the folder it is given and returns the counts by
            which ``read_manifest`` sees later whether the tree is whole.
        read_manifest (Callable): Returns the manifest of a finished tree, else None.
        resume (bool): Whether ``build`` goes on with what an earlier one of the same request left
            when it was stopped. Otherwise it gets an empty folder.

    Returns:
        bool: True if the tree was written, False if it was there already.

    Raises:
        FileExistsError: If the folder holds something that was not written by this function.
        CheckpointError: If nothing can be written there.
    """
    root = Path(root).resolve()
    wanted = json.loads(json.dumps(request))
    manifest = read_manifest(root)
    if manifest is not None and manifest['request'] == wanted:
        return False
    if root.exists() and (not root.is_dir() or any(root.iterdir())) and not load_manifest(root):
        raise FileExistsError(
            f'{root} holds something that this tool did not write (it has no '
            f'{MANIFEST} of ours); move it or choose another folder (`--out`).'
        )

    def is_same(left: Path) -> bool:
        try:
            return json.loads((left / REQUEST).read_text()) == wanted
        except (OSError, ValueError):
            return False

    with write_folder(root, resume=is_same if resume else None) as folder:
        (folder / REQUEST).write_text(json.dumps(wanted))
        counts = build(folder)
        text = json.dumps(dict(request=wanted, counts=counts), indent=2)
        (folder / MANIFEST).write_text(text + '\n')
        (folder / REQUEST).unlink()
    return True


@dataclass
class Split:
    """The images of one split.

    Attributes:
        images (np.ndarray): uint8, (N, H, W) grey or (N, H, W, 3) RGB.
        labels (np.ndarray): Positions in the class list, (N, ).
        names (Sequence[str], optional): File names without '.png'. Defaults to the position.
    """

    images: np.ndarray
    labels: np.ndarray
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.names is None:
            self.names = [f'{i:05d}' for i in range(len(self.labels))]
        if not len(self.images) == len(self.labels) == len(self.names):
            raise ValueError(
                f'A split needs as many images as labels and names, not '
                f'{len(self.images)}, {len(self.labels)} and {len(self.names)}.'
            )


def read_manifest(root: str | Path) -> dict | None:
    """The manifest of a finished tree, or None if the tree is not there or not finished.

    A tree that lost or gained files since it was written counts as not finished.
    """

    def expect(counts: dict) -> Expected:
        folders = {f'{s}/{name}': n for s, of in counts.items() for name, n in of.items()}
        return folders, [f'meta/{split}.txt' for split in counts]

    return read_whole(root, expect)


def write_image_folder(
    root: str | Path,
    classes: Sequence[str],
    splits: Mapping[str, Callable[[], Split]],
    request: Mapping,
    per_class: int | None = None,
    subsets: Mapping[str, Sequence[str]] | None = None,
    excerpts: Mapping[str, Sequence[str]] | None = None,
) -> bool:
    """Writes ``<root>/<split>/<class>/<name>.png`` and ``<root>/meta/*.txt``.

    ``meta/<split>.txt`` lists every image of a split with its label (the position in
    ``classes``); ``meta/<subset>_<split>.txt`` lists the classes of a subset only, labelled by
    their position in that subset; ``meta/<excerpt>_<split>.txt`` keeps the labels of all classes.
    See :func:`write_tree` for how it is kept whole.

    Args:
        root (str | Path): The folder to write.
        classes (Sequence[str]): Class names in label order.
        splits (Mapping): For each split a function that makes it; called only when needed.
        request (Mapping): What defines the images (generator, seed, source hash, ...), as plain
            json values. A finished tree of the same request is left alone.
        per_class (int, optional): At most so many images of a class in each split.
        subsets (Mapping, optional): Names and classes of the subsets.
        excerpts (Mapping, optional): Names and classes of the excerpts.

    Returns:
        bool: True if the tree was written, False if it was there already.
    """
    subsets, excerpts = dict(subsets or {}), dict(excerpts or {})
    if per_class is not None and per_class < 1:
        raise ValueError(f'per_class must be 1 or more, or None for no limit; not {per_class}.')
    for name, members in [*subsets.items(), *excerpts.items()]:
        if not set(members) <= set(classes):
            raise ValueError(
                f'Subset {name!r} has classes {sorted(set(members) - set(classes))} '
                f'that are not among {list(classes)}.'
            )

    label_of = {member: label for label, member in enumerate(classes)}
    lists = {'': label_of}
    for name, members in subsets.items():
        lists[f'{name}_'] = {member: label for label, member in enumerate(members)}
    for name, members in excerpts.items():
        lists[f'{name}_'] = {member: label_of[member] for member in members}

    def build(partial: Path) -> dict[str, dict[str, int]]:
        (partial / 'meta').mkdir()
        return {
            name: _write_split(partial, name, make(), classes, per_class, lists)
            for name, make in splits.items()
        }

    wanted = dict(
        request, classes=list(classes), splits=list(splits), per_class=per_class, subsets=subsets
    )
    if excerpts:  # a tree without them is the one it always was
        wanted['excerpts'] = excerpts
    return write_tree(root, wanted, build, read_manifest)


def _png(image: np.ndarray) -> bytes:
    """A grey or RGB image as PNG, in less time than Pillow takes for a small one."""
    channels = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    done, data = cv2.imencode('.png', channels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f'{image.dtype} of shape {image.shape} is no image.')
    return data.tobytes()


def _write_split(
    root: Path,
    name: str,
    split: Split,
    classes: Sequence[str],
    per_class: int | None,
    lists: Mapping[str, Mapping[str, int]],
) -> dict[str, int]:
    """Writes one split and its lists; returns the number of images of each class."""
    files = {}
    for label, class_name in enumerate(classes):
        folder = root / name / class_name
        folder.mkdir(parents=True)
        places = np.flatnonzero(np.asarray(split.labels) == label)[:per_class]
        for i in places:
            (folder / f'{split.names[i]}.png').write_bytes(_png(split.images[i]))
        files[class_name] = [f'{class_name}/{split.names[i]}.png' for i in places]
    for prefix, labels in lists.items():
        lines = [f'{file} {label}\n' for member, label in labels.items() for file in files[member]]
        (root / 'meta' / f'{prefix}{name}.txt').write_text(''.join(lines))
    return {class_name: len(members) for class_name, members in files.items()}
