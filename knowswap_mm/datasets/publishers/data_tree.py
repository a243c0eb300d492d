"""What all writers of publishers' pictures share."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from knowswap_mm.datasets.generators.tree_writer import Expected, read_whole, write_tree
from knowswap_mm.datasets.picture_name import is_converted, name_problem
from knowswap_mm.datasets.publishers.contact_sheet import write_contact_sheet
from knowswap_mm.datasets.publishers.inspection import Finding, Inspection
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.datasets.publishers.placing import place
from knowswap_mm.json_file import write_lines


class DataTree:
    """A folder of checked pictures with a manifest, checksums and a contact sheet.

    It is written whole or not at all; a stopped writer goes on where it was.

    Args:
        root (str | Path): The folder to write.
        source (str | Path): Where the pictures come from, for messages.
    """

    #: Whether pictures must show the very pixels that annotations count: no turning by EXIF.
    as_stored = True

    def __init__(self, root: str | Path, source: str | Path) -> None:
        self.root, self.source = Path(root), Path(source)

    @staticmethod
    def expect(counts: dict) -> Expected:
        """Folders with their numbers of files, and other files, from the manifest's counts."""
        raise NotImplementedError

    def _write(
        self,
        names: Sequence[str],
        paths: Sequence[Path],
        request: Mapping[str, Any],
        build: Callable[[Path], dict[str, int]],
    ) -> bool:
        """Write the tree unless it is there.

        Args:
            names (Sequence[str]): Where each picture goes in the folder.
            paths (Sequence[Path]): The files that are read.
            request (Mapping[str, Any]): What was asked for.
            build (Callable): Fills the folder and returns the counts.

        Raises:
            SourceError: If two pictures have one name, or a path leads out of its folder.
        """
        if double := [name for name, count in Counter(names).items() if count > 1]:
            raise SourceError(self.source, [f'two pictures would be {name}' for name in double])
        root = os.path.abspath(self.source)
        lost = [p for p in paths if os.path.commonpath([root, os.path.abspath(p)]) != root]
        if lost:
            raise SourceError(self.source, [f'{path} is not in the source' for path in lost])
        if odd := [path for path in paths if path.exists() and not path.is_file()]:
            raise SourceError(self.source, [f'{path} is no file' for path in odd])
        wrong = {name: name_problem(name) for name in names}
        if outside := [f'{name!r:.120} {why}' for name, why in wrong.items() if why]:
            raise SourceError(self.source, outside)
        digest = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()
        full = dict(request, pictures=digest)
        return write_tree(
            self.root, full, build, lambda root: read_whole(root, self.expect), resume=True
        )

    def _inspect(
        self,
        folder: Path,
        paths: Sequence[Path],
        look: Callable[[int], dict] | None = None,
    ) -> list[Finding]:
        """Decode every picture; see :class:`Inspection`."""
        return Inspection(folder / '.inspected.jsonl', self.source).run(paths, look)

    def _place(
        self,
        folder: Path,
        names: Sequence[str],
        pictures: Sequence[Any],
        findings: Sequence[Finding],
        way: str,
    ) -> None:
        """Put pictures where they belong and list their checksums, as ``sha256sum -c`` reads."""
        sums = []
        shown = tqdm(names, 'writing', disable=None)
        for name, picture, finding in zip(shown, pictures, findings, strict=True):
            turned = finding['turned'] and self.as_stored
            target = folder / name
            place(picture.path.resolve(), target, way, turned)
            digest = finding['sha256']
            if turned or is_converted(picture.path.name) and target.suffix != picture.path.suffix:
                digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            sums.append(f'{digest}  {name}')
        write_lines(folder / 'checksums.txt', sums)

    @staticmethod
    def _finish(folder: Path, shown: Sequence[Picture]) -> None:
        """Write the contact sheet and take the notes of the inspection away."""
        write_contact_sheet(folder / 'contact_sheet.jpg', shown)
        (folder / '.inspected.jsonl').unlink(missing_ok=True)
