"""Oxford-IIIT Pet: breeds of cats and dogs."""

from __future__ import annotations

from pathlib import Path

from knowswap_mm.datasets.publishers.picture import Picture, SourceError, read_table


class OxfordPet:
    """Reads ``images/`` and ``annotations/{trainval,test}.txt``; ``test`` becomes ``val``.

    A class is the part of a picture's name before its number (``american_bulldog``).

    Args:
        root (str | Path): The folder with ``images`` and ``annotations``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def pictures(self) -> list[Picture]:
        """All pictures, in the order of the lists."""
        found, problems = [], []
        labels: dict[str, str] = {}
        for split, name in (('train', 'trainval'), ('val', 'test')):
            for picture, label, *_ in read_table(
                self.root / 'annotations' / f'{name}.txt', self.root, 2
            ):
                breed, path = picture.rsplit('_', 1)[0], self.root / 'images' / f'{picture}.jpg'
                if labels.setdefault(breed, label) != label:
                    problems.append(f'{name}.txt: {picture} has class {label}, not {labels[breed]}')
                elif not path.is_file():
                    problems.append(f'{name}.txt: images/{picture}.jpg is missing')
                else:
                    found.append(Picture(split, breed, path))
        if problems:
            raise SourceError(self.root, problems)
        return found
