"""One labelled picture of a publisher, and what may be wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from knowswap_mm.errors import FileError, SwapError
from knowswap_mm.json_file import read_lines
from knowswap_mm.limits import ANNOTATION_BYTES


class SourceError(SwapError):
    """A downloaded data set is not what it should be; names every problem."""

    def __init__(self, root: Path, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        shown = '\n'.join(f'  {problem}' for problem in self.problems[:20])
        more = f'\n  ... and {len(self.problems) - 20} more' if len(self.problems) > 20 else ''
        super().__init__(f'{root}: {len(self.problems)} problems\n{shown}{more}')


@dataclass(frozen=True)
class Picture:
    """A picture of one class.

    Attributes:
        split (str): ``train``, ``val`` or ``test``.
        class_name (str): Its class; also the name of its folder.
        path (Path): The file.
    """

    split: str
    class_name: str
    path: Path

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class, as for pictures with several."""
        return (self.class_name,)


def read_table(path: Path, root: Path, columns: int) -> list[list[str]]:
    """Read a text file with columns set apart by spaces; lines that begin with # do not count.

    Raises:
        SourceError: If the file is missing, empty, or a line has fewer columns.
    """
    try:
        lines = read_lines(path, ANNOTATION_BYTES)
    except FileError as error:
        fix = 'give the folder that the unpacked archive made (--source)'
        raise SourceError(root, [f'{path.name} cannot be read ({error}). Fix: {fix}']) from error
    rows = [re.split(r'\s+', line) for line in lines if line[0] != '#']
    problems = [f'{path.name}: a line has too few columns: {r}' for r in rows if len(r) < columns]
    if not rows:
        problems = [f'{path.name} is empty']
    if problems:
        raise SourceError(root, problems)
    return rows
