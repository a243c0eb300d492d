"""What stands in the pages of the documentation: code blocks, commands, tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / 'docs'


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: The word behind the fence; empty for an indented block.
        text: Its lines.
        line: The number of its first line.
    """

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name in its first comment, if the reader shall save it as a file."""
        match = re.match(r'# ([\w./-]+\.py)(\s|:)', self.text)
        return match.group(1) if match else None


def blocks_of(page: Path) -> list[Block]:
    """All code blocks of a page, in order."""
    found, lines, language = [], [], None
    text = page.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate([*text, ''], 1):
        fence = re.match(r'```\{?(\w*)', line)
        if language is None and fence:
            language, lines = fence.group(1) or 'text', []
        elif fence:
            found.append(Block(language, '\n'.join(lines) + '\n', number - len(lines)))
            language, lines = None, []
        elif language is not None:
            lines.append(line)
        elif line.startswith('    ') and (lines or not text[number - 2].strip() or number == 1):
            lines.append(line[4:])
        elif lines and not (not line.strip() and number < len(text) and text[number][:4] == '    '):
            found.append(Block('', '\n'.join(lines) + '\n', number - len(lines)))
            lines = []
        elif lines:
            lines.append('')
    return found


def run_block(block: Block, folder: Path, activated: bool = False) -> str:
    """Run a block of commands in a :func:`stand_in_for_a_clone`; returns what they say.

    With ``activated`` the programs of `.venv` are found by their names.
    """
    programs = f'{sys.prefix}/bin{os.pathsep}' if activated else ''
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', block.text],
        cwd=folder,
        env=dict(
            os.environ,
            PYTHONPATH=str(REPOSITORY),
            OMP_NUM_THREADS='1',
            PATH=f'{programs}{os.environ["PATH"]}',
        ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'{block.text}\n{done.stdout[-2000:]}{done.stderr[-3000:]}'
    return done.stdout


def tables_of(page: Path) -> list[list[list[str]]]:
    """All tables of a page as rows of cells, without emphasis; the head is the first row."""
    found, rows = [], []
    for line in [*page.read_text(encoding='utf-8').splitlines(), '']:
        if line.startswith('|'):
            cells = [re.sub(r'[*`]', '', cell).strip() for cell in line.strip('|').split('|')]
            if not all(set(cell) <= set('-: ') and cell for cell in cells):
                rows.append(cells)
        elif rows:
            found.append(rows)
            rows = []
    return found


def stand_in_for_a_clone(folder: Path) -> Path:
    """A folder in which the commands of the pages run as in a clone after `make setup`."""
    for name in ('configs', 'tools', 'weights', 'benchmarks'):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / '.venv').symlink_to(sys.prefix)
    return folder
