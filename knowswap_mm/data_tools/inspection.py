"""Looks at every image once, also when the work is interrupted."""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from knowswap_mm.data_tools.images import SourceError, SourceImage

_SIDE, _COLUMNS, _ROWS = 96, 8, 100


def write_contact_sheet(path: Path, images: Sequence[SourceImage]) -> None:
    """Write small copies of the first images of each class (of 100 at most), a row a class."""
    rows: dict[str, list[Path]] = {}
    for image in images:
        row = rows.setdefault(image.class_name, [])
        if len(row) < _COLUMNS:
            row.append(image.path)
    shown = sorted(rows)[:_ROWS]
    sheet = Image.new('RGB', (_SIDE * _COLUMNS, _SIDE * max(len(shown), 1)), 'white')
    for y, name in enumerate(shown):
        for x, each in enumerate(rows[name]):
            small = upright_image(each).resize((_SIDE, _SIDE))
            sheet.paste(small, (x * _SIDE, y * _SIDE))
    sheet.save(path, quality=80)


def upright_image(path: Path) -> Image.Image:
    """Read an image in RGB, turned as its EXIF entry says."""
    with Image.open(path) as opened:
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
