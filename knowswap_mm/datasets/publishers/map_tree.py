"""Writes pictures with semantic maps."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from knowswap_mm.datasets.generators.tree_writer import load_manifest, write_tree
from knowswap_mm.datasets.publishers.mapped_picture import NONE, MappedPicture
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.datasets.publishers.picture_tree import place, write_contact_sheet


class MapTree:
    """A folder ``<root>/<split>/images/<n>.jpg`` with ``<root>/<split>/annotations/<n>.png``.

    Ids in the maps follow the order of the chosen classes; other classes are unlabelled (255), and
    pictures without a pixel of a chosen class are left out.

    Args:
        root (str | Path): The folder to write.
        source (str | Path): Where the pictures come from, for messages.
    """

    def __init__(self, root: str | Path, source: str | Path) -> None:
        self.root, self.source = Path(root), Path(source)

    def write(
        self,
        pictures: Sequence[MappedPicture],
        known: Sequence[str],
        classes: Sequence[str],
        request: Mapping[str, Any],
        first_id: int = 0,
        way: str = 'link',
    ) -> bool:
        """Check and write the pictures; all of them or none.

        Args:
            pictures (Sequence[MappedPicture]): The pictures.
            known (Sequence[str]): All classes of the publisher.
            classes (Sequence[str]): The chosen ones, in the order of their ids.
            request (Mapping[str, Any]): What was asked for.
            first_id (int): Id of the first class.
            way (str): ``link`` or ``copy``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If a class is unknown, a file is damaged, or a class has no pixel.
            FileExistsError: If the folder holds something else.
        """
        problems = [
            f'there is no class {n!r}; some are {known[:5]}' for n in classes if n not in known
        ]
        problems += [f'class {n!r} is listed twice' for n in set(classes) if classes.count(n) > 1]
        if first_id + len(classes) > NONE:
            problems.append(f'ids from {first_id} on do not fit into 8 bits')
        if problems:
            raise SourceError(self.source, problems)
        table = np.full(256, NONE, np.uint8)
        for number, name in enumerate(classes):
            table[list(known).index(name)] = first_id + number
        digest = hashlib.sha256('\n'.join(str(p.path.name) for p in pictures).encode()).hexdigest()
        full = dict(request, way=way, pictures=digest, classes=list(classes), first_id=first_id)

        def build(folder: Path) -> dict[str, int]:
            counts: Counter[str] = Counter()
            seen: Counter[int] = Counter()
            shown, wrong = [], []
            for picture in pictures:
                try:
                    with Image.open(picture.path) as opened:
                        opened.load()
                        size = opened.size
                    labels = table[picture.read(picture.map_path)]
                    if labels.shape[::-1] != size:
                        raise ValueError(f'the map has {labels.shape[::-1]} pixels, not {size}')
                except Exception as error:  # a damaged file may raise anything
                    wrong.append(f'{picture.map_path.name}: {type(error).__name__}: {error}')
                    continue
                present = [int(number) for number in np.unique(labels) if number != NONE]
                if not present:
                    continue
                seen.update(present)
                target = folder / picture.split / 'images' / picture.path.name
                maps = folder / picture.split / 'annotations' / picture.map_path.name
                for path in (target, maps):
                    path.parent.mkdir(parents=True, exist_ok=True)
                place(picture.path.resolve(), target, way)
                Image.fromarray(labels).save(maps)
                counts[picture.split] += 1
                shown.append(Picture(picture.split, classes[present[0] - first_id], picture.path))
            wrong += [
                f'class {name!r} has no pixel'
                for number, name in enumerate(classes)
                if not wrong and not seen[first_id + number]
            ]
            if wrong:
                raise SourceError(self.source, wrong)
            write_contact_sheet(folder / 'contact_sheet.jpg', shown)
            return dict(counts)

        return write_tree(self.root, full, build, read_map_manifest)


def read_map_manifest(root: str | Path) -> dict | None:
    """The manifest if every split still has its pictures and maps, else None."""
    root = Path(root)
    manifest = load_manifest(root)
    try:
        for split, count in (manifest or {}).get('counts', {}).items():
            for name in ('images', 'annotations'):
                if sum(1 for _ in (root / split / name).iterdir()) != count:
                    return None
    except OSError:
        return None
    return manifest
