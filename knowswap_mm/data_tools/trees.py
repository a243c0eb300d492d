"""Writes chosen images: what all trees have, and class folders that our configs read."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from knowswap_mm.data_tools.generators.trees import Expected, read_whole, write_tree
from knowswap_mm.data_tools.images import SourceError, SourceImage
from knowswap_mm.data_tools.inspection import (
    Finding,
    Inspection,
    upright_image,
    write_contact_sheet,
)
from knowswap_mm.datasets.images import host_name, is_converted, name_problem
from knowswap_mm.io.text_files import line_problem, write_lines


def place(source: Path, target: Path, way: str, turned: bool = False) -> None:
    """Link or copy an image; one that is there already, from an interrupted run, stays.

    Args:
        source (Path): The image.
        target (Path): Where it goes.
        way (str): ``link`` (hard link, else symbolic link, else copy) or ``copy``.
        turned (bool): Whether readers would turn it by its EXIF entry, away from its annotations.
            It is then saved without the entry.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f'.{target.name}.part')
    if turned or needs_another_format(source, target):
        with Image.open(source) as opened:
            kind = 'PNG' if needs_another_format(source, target) else opened.format
            options = dict(quality='keep') if kind == opened.format == 'JPEG' else {}
            exif = b'' if turned else opened.info.get('exif', b'')
            plain = opened.convert('RGB') if kind == 'PNG' and opened.mode == 'CMYK' else opened
            plain.save(half, kind, exif=exif, **options)
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


def needs_another_format(source: Path, target: Path) -> bool:
    """Whether the name of a placed image asks for PNG, and the image has another format."""
    if target.suffix.lower() == source.suffix.lower():
        return False
    return is_converted(source.name) or target.suffix == '.png'


def place_square(source: Path, target: Path, size: int) -> None:
    """Write the square in the middle of an image, upright, in RGB and of ``size`` pixels a side.

    One that is there already, from an interrupted run, stays.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f'.{target.name}.part')
    image = upright_image(source)
    side = min(image.size)
    left, top = ((each - side) // 2 for each in image.size)
    square = image.crop((left, top, left + side, top + side)).resize((size, size))
    square.save(half, Image.registered_extensions()[target.suffix.lower()])
    half.rename(target)


class DataTree:
    """A folder of checked images with a manifest, checksums and a contact sheet.

    It is written whole or not at all; a stopped writer goes on where it was.

    Args:
        root (str | Path): The folder to write.
        source (str | Path): Where the images come from, for messages.
        size (int | None): Side of the square in the middle that is written of each image, see
            :func:`place_square`; None places whole images as they are.
    """

    #: Whether images must show the very pixels that annotations count: no turning by EXIF.
    as_stored = True

    def __init__(self, root: str | Path, source: str | Path, size: int | None = None) -> None:
        self.root, self.source, self.size = Path(root), Path(source), size

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
        """Write the tree unless it is there; ``build`` fills a folder and returns the counts."""
        if double := [name for name, count in Counter(names).items() if count > 1]:
            raise SourceError(self.source, [f'two images would be {name}' for name in double])
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
        images: Sequence[Any],
        look: Callable[[int], dict] | None = None,
    ) -> list[Finding]:
        """Decode every image; see :class:`Inspection`."""
        paths = [image.path for image in images]
        return Inspection(folder / '.inspected.jsonl', self.source).run(paths, look)

    def _place(
        self,
        folder: Path,
        names: Sequence[str],
        images: Sequence[Any],
        findings: Sequence[Finding],
        way: str,
    ) -> None:
        """Put images where they belong and list their checksums, as ``sha256sum -c`` reads."""
        sums = []
        shown = tqdm(names, 'writing', disable=None)
        for name, image, finding in zip(shown, images, findings, strict=True):
            turned = finding['turned'] and self.as_stored
            target = folder / name
            if self.size:
                place_square(image.path, target, self.size)
            else:
                place(image.path.resolve(), target, way, turned)
            digest = finding['sha256']
            converted = needs_another_format(image.path, target)
            if turned or converted or self.size:
                digest = hashlib.sha256(target.read_bytes()).hexdigest()
            sums.append(f'{digest}  {name}')
        write_lines(folder / 'checksums.txt', sums)

    @staticmethod
    def _finish(
        folder: Path,
        members: Sequence[Sequence[str]],
        draw: Callable[[int, str], Image.Image],
        roles: Mapping[str, Sequence[str]],
        columns: int,
    ) -> None:
        """Write lists and a contact sheet, and take the notes of the inspection away."""
        for role, classes in roles.items():
            write_lines(folder / 'roles' / f'{role}.txt', classes)
        write_contact_sheet(folder / 'contact_sheet.jpg', members, draw, roles, columns)
        (folder / '.inspected.jsonl').unlink(missing_ok=True)


#: Side of an image of a class in a contact sheet.
_SIDE = 96


def _square(path: Path) -> Image.Image:
    return upright_image(path, _SIDE).resize((_SIDE, _SIDE))


class ImageTree(DataTree):
    """A folder ``<root>/<split>/<class>/<image>``, whole or not there.

    ``splits/<split>.txt`` names the images, to share and to compare; ``classes.txt`` the classes.
    """

    as_stored = False

    def write(
        self,
        images: Sequence[SourceImage],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Check and write the images; all of them or none.

        Args:
            images (Sequence[SourceImage]): The images.
            request (Mapping[str, Any]): What was asked for; a finished tree of the same request
                and images is left alone.
            way (str): ``link`` (hard link, else symbolic link, else copy) or ``copy``.
            roles (Mapping | None): Classes of each role, for ``roles/<role>.txt``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If an image cannot be decoded, or two have one name.
            FileExistsError: If the folder holds something else.
        """
        if nested := sorted({p.class_name for p in images if '/' in p.class_name}):
            problems = [f'class {name!r:.80} leads out of the folder of a class' for name in nested]
            raise SourceError(self.source, problems)
        lists = [*(p.class_name for p in images), *(n for r in (roles or {}).values() for n in r)]
        wrong = {name: line_problem(name) for name in dict.fromkeys(lists)}
        if wrong := [
            f'class {name!r:.80} {why}, so no list can hold it'
            for name, why in wrong.items()
            if why
        ]:
            raise SourceError(self.source, wrong)
        names = [f'{p.split}/{p.class_name}/{host_name(p.name or p.path.name)}' for p in images]
        roles = dict(roles or {})

        def build(folder: Path) -> dict[str, int]:
            findings = self._inspect(folder, images)
            self._place(folder, names, images, findings, way)
            self._write_lists(folder, names)
            members = [image.class_names for image in images]
            self._finish(folder, members, lambda place, _: _square(images[place].path), roles, 8)
            return dict(Counter(f'{p.split}/{p.class_name}' for p in images))

        full = dict(request, way=way, roles=roles) | (dict(size=self.size) if self.size else {})
        return self._write(names, [image.path for image in images], full, build)

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
