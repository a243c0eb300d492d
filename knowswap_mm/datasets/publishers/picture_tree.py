"""Writes chosen pictures as class folders that our configs read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.datasets.generators.tree_writer import Expected
from knowswap_mm.datasets.picture_name import host_name
from knowswap_mm.datasets.publishers.data_tree import DataTree
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.json_file import line_problem, write_lines


class PictureTree(DataTree):
    """A folder ``<root>/<split>/<class>/<picture>``, whole or not there.

    ``splits/<split>.txt`` names the pictures, to share and to compare; ``classes.txt`` the classes.
    """

    as_stored = False

    def write(
        self,
        pictures: Sequence[Picture],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Check and write the pictures; all of them or none.

        Args:
            pictures (Sequence[Picture]): The pictures.
            request (Mapping[str, Any]): What was asked for; a finished tree of the same request
                and pictures is left alone.
            way (str): ``link`` (hard link, else symbolic link, else copy) or ``copy``.
            roles (Mapping | None): Classes of each role, for ``roles/<role>.txt``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If a picture cannot be decoded, or two have one name.
            FileExistsError: If the folder holds something else.
        """
        if nested := sorted({p.class_name for p in pictures if '/' in p.class_name}):
            problems = [f'class {name!r:.80} leads out of the folder of a class' for name in nested]
            raise SourceError(self.source, problems)
        lists = [*(p.class_name for p in pictures), *(n for r in (roles or {}).values() for n in r)]
        wrong = {name: line_problem(name) for name in dict.fromkeys(lists)}
        if wrong := [
            f'class {name!r:.80} {why}, so no list can hold it'
            for name, why in wrong.items()
            if why
        ]:
            raise SourceError(self.source, wrong)
        names = [f'{p.split}/{p.class_name}/{host_name(p.path.name)}' for p in pictures]
        roles = dict(roles or {})

        def build(folder: Path) -> dict[str, int]:
            findings = self._inspect(folder, [picture.path for picture in pictures])
            self._place(folder, names, pictures, findings, way)
            self._write_lists(folder, names)
            for role, classes in roles.items():
                write_lines(folder / 'roles' / f'{role}.txt', classes)
            self._finish(folder, pictures)
            return dict(Counter(f'{p.split}/{p.class_name}' for p in pictures))

        paths = [picture.path for picture in pictures]
        return self._write(names, paths, dict(request, way=way, roles=roles), build)

    @staticmethod
    def expect(counts: dict) -> Expected:
        """See :class:`DataTree`."""
        return counts, ['classes.txt']

    @staticmethod
    def _write_lists(folder: Path, names: Sequence[str]) -> None:
        lists: dict[str, list[str]] = {}
        for name in names:
            split, rest = name.split('/', 1)
            lists.setdefault(split, []).append(rest)
        for split, lines in lists.items():
            write_lines(folder / 'splits' / f'{split}.txt', sorted(lines))
        write_lines(folder / 'classes.txt', sorted({name.split('/')[1] for name in names}))
