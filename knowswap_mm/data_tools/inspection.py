"""Looks at every image once, also when the work is interrupted."""

from __future__ import annotations

import hashlib
import io
import json
import math
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm import tqdm

from knowswap_mm.data_tools.images import SourceError

#: Rows of a contact sheet at most, the height of a line of text, and white beside images.
_ROWS, _LINE, _GAP = 100, 20, 4


def write_contact_sheet(
    path: Path,
    members: Sequence[Sequence[str]],
    draw: Callable[[int, str], Image.Image],
    roles: Mapping[str, Sequence[str]] | None = None,
    columns: int = 8,
) -> None:
    """Write small copies of some images of each class (of 100 at most), a row a class.

    Args:
        path (Path): The file.
        members (Sequence[Sequence[str]]): Classes in each image.
        draw (Callable): Gives the small copy of the image at a position for the row of a class.
        roles (Mapping | None): Classes of each role, which stand together.
        columns (int): Images of a class at most.
    """
    role_of = {name: role for role, names in (roles or {}).items() for name in names}
    counts = Counter(name for names in members for name in set(names))
    rows = _choose_rows(members, sorted(counts)[:_ROWS], columns)
    strips = []
    for name in sorted(rows, key=lambda name: (role_of.get(name, ''), name)):
        role = f' ({role_of[name]})' if name in role_of else ''
        short = f'{" ".join(name.split()):.80}'
        strips.append(_line(f'{short}{role}: {counts[name]} image{"s" * (counts[name] > 1)}'))
        strips.append(_beside([draw(place, name) for place in rows[name]]))
    if len(counts) > len(rows):
        strips.append(_line(f'{len(rows)} of {len(counts)} classes'))
    size = max((each.width for each in strips), default=1), sum(each.height for each in strips)
    sheet, top = Image.new('RGB', (size[0], max(size[1], 1)), 'white'), 0
    for each in strips:
        sheet.paste(each, (0, top))
        top += each.height
    sheet.save(path, quality=80)


def _choose_rows(
    members: Sequence[Sequence[str]], names: Sequence[str], columns: int
) -> dict[str, list[int]]:
    """Positions of the first images of each class, if possible of those in no other row."""
    places: dict[str, list[int]] = {name: [] for name in names}
    for place, classes in enumerate(members):
        for name in set(classes) & places.keys():
            places[name].append(place)
    rows: dict[str, list[int]] = {}
    taken: set[int] = set()
    for name in sorted(names, key=lambda name: len(places[name])):  # rare ones have no choice
        rows[name] = sorted(places[name], key=lambda place: place in taken)[:columns]
        taken.update(rows[name])
    return rows


def _line(text: str) -> Image.Image:
    font = ImageFont.load_default(_LINE - 6)
    line = Image.new('RGB', (math.ceil(font.getlength(text)) + 2 * _GAP, _LINE), 'white')
    ImageDraw.Draw(line).text((_GAP, 1), text, fill='black', font=font)
    return line


def _beside(images: Sequence[Image.Image]) -> Image.Image:
    row = Image.new(
        'RGB',
        (sum(each.width + _GAP for each in images), max(each.height for each in images) + _GAP),
        'white',
    )
    left = 0
    for each in images:
        row.paste(each, (left, 0))
        left += each.width + _GAP
    return row


def upright_image(path: Path, size: int | None = None) -> Image.Image:
    """Read an image in RGB, turned as its EXIF entry says.

    Args:
        path (Path): The file.
        size (int | None): Sides that are enough: a large JPEG is decoded at a fraction of its own.
    """
    with Image.open(path) as opened:
        if size:
            opened.draft(None, (size, size))
        upright = ImageOps.exif_transpose(opened)
    if upright.mode.startswith('I'):  # 16 bits, which Pillow cuts off instead of scaling
        upright = Image.fromarray((np.asarray(upright) // 257).clip(0, 255).astype(np.uint8))
    return upright.convert('RGB')


#: ``sha256``, ``width``, ``height`` (as stored), ``turned`` (by EXIF), and what else was looked at.
Finding = dict[str, Any]

_CHUNK, _ORIENTATION, _UPRIGHT = 256, 0x0112, 1


class Inspection:
    """Decodes images and keeps notes, so that a second run looks at new or changed files only.

    Args:
        notes (Path): A file for the notes.
        source (Path): Where the images come from, for messages.
    """

    def __init__(self, notes: Path, source: Path) -> None:
        self.notes, self.source = notes, source

    def run(
        self, paths: Sequence[Path], look: Callable[[int], dict] | None = None
    ) -> list[Finding]:
        """Decode each image; ``look`` finds out more of the one at a position.

        Raises:
            SourceError: Names every image that cannot be decoded, or at which ``look`` raised.
        """
        known = self._read()
        found, problems = [], []
        with (
            ThreadPoolExecutor(8) as pool,
            self.notes.open('a', encoding='utf-8') as notes,
            tqdm(total=len(paths), desc='checking', disable=None) as progress,
        ):
            # Chunk by chunk, so that an interrupt need not wait for all that is queued.
            for start in range(0, len(paths), _CHUNK):
                places = range(start, min(start + _CHUNK, len(paths)))
                for key, finding in pool.map(lambda i: _note(paths[i], i, look, known), places):
                    if 'problem' in finding:
                        problems.append(finding['problem'])
                    elif key not in known:
                        notes.write(json.dumps([key, finding]) + '\n')
                    found.append(finding)
                notes.flush()
                progress.update(len(places))
        if problems:
            raise SourceError(self.source, problems)
        return found

    def _read(self) -> dict[str, Finding]:
        known = {}
        if self.notes.is_file():
            for line in self.notes.read_text(encoding='utf-8').splitlines():
                try:
                    key, finding = json.loads(line)
                except ValueError:  # the line at which the writer was stopped
                    continue
                known[key] = finding
        return known


def _note(
    path: Path, place: int, look: Callable[[int], dict] | None, known: dict[str, Finding]
) -> tuple[str, Finding]:
    key = str(path)
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # whoever opens a pipe waits forever
            raise ValueError('it is no file')
        key = f'{path} {state.st_size} {state.st_mtime_ns}'
        if key in known:
            return key, known[key]
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            turned = opened.getexif().get(_ORIENTATION, _UPRIGHT) not in (0, _UPRIGHT)
            opened.load()
            width, height = opened.size
        finding = dict(
            sha256=hashlib.sha256(content).hexdigest(), width=width, height=height, turned=turned
        )
        return key, dict(finding, **(look(place) if look else {}))
    except Exception as error:  # a damaged file may raise anything
        said = str(error).partition(' <_io.')[0]  # Pillow names the object that holds the bytes
        return key, dict(problem=f'{path}: {type(error).__name__}: {said}')
