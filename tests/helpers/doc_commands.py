"""The command lines of the pages, and the argument parsers of the tools that they call."""

from __future__ import annotations

import argparse
import importlib.util
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.benchmark_runs import own_modules
from tests.helpers.doc_blocks import REPOSITORY, blocks_of

PYTHON = ('python', 'python3', '.venv/bin/python')
#: A word that begins a command; what else stands in an indented block is output or a path.
PROGRAM = re.compile(
    r'(\.venv/bin/)?(python3?|knowswap|pip)$|make$|bash$|(tools|benchmarks|docs)/[\w./-]+\.(py|sh)$'
)
_ASSIGNMENT = re.compile(r'(\w+)=(.*)', re.DOTALL)
_HOST = re.compile(r'\b(mmpretrain|mmdet|mmseg)\b')


@dataclass(frozen=True)
class DocCommand:
    """A command of a page.

    Attributes:
        page: The page.
        words: Its words, with variables filled in and without leading assignments.
    """

    page: Path
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f'{self.page.name}: {shlex.join(self.words)}'


def commands_of(page: Path) -> list[DocCommand]:
    """All commands in the code blocks of a page and between its backticks."""
    found, variables = [], {}
    for block in blocks_of(page):
        if block.language in ('', 'bash'):
            for statement in _statements(block.text):
                words = _words(statement, variables)
                if words and (PROGRAM.match(words[0]) or block.language == 'bash'):
                    found.append(DocCommand(page, tuple(words)))
    prose = re.sub(r'^```.*?^```', '', page.read_text(encoding='utf-8'), flags=re.M | re.S)
    for text in re.findall(r'`([^`\n]+)`', prose):
        words = _words(text, {}) if ' ' in text else []
        if words and PROGRAM.match(words[0]):
            found.append(DocCommand(page, tuple(words)))
    return found


def _statements(text: str) -> Iterator[str]:
    """Lines, joined where a backslash or a quotation goes on."""
    kept = ''
    for line in text.splitlines():
        kept += line
        if kept.endswith('\\'):
            kept = kept[:-1]
            continue
        try:
            shlex.split(kept, comments=True)
        except ValueError:  # an open quotation, or an apostrophe in a line of output
            kept += '\n'
            continue
        yield kept
        kept = ''


def _words(statement: str, variables: dict[str, str]) -> list[str]:
    """Words with variables filled in; an assignment alone is kept in `variables`."""

    def fill(match: re.Match) -> str:
        return variables.get(match.group(1), match.group(0))

    statement = re.sub(r'\$\{?(\w+)\}?', fill, statement)
    assigned = re.match(r'\s*(\w+)=("?\$\(.*)', statement)
    if assigned:  # the folder of a host library
        name = _HOST.search(assigned.group(2)).group(1)
        place = importlib.util.find_spec(name).submodule_search_locations[0]
        variables[assigned.group(1)] = place + assigned.group(2).rsplit(')', 1)[1].strip('"')
        return []
    try:
        words = shlex.split(statement, comments=True)
    except ValueError:
        return []
    given = {}
    while words and (match := _ASSIGNMENT.fullmatch(words[0])) and '/' not in match.group(1):
        given[match.group(1)] = match.group(2)
        words = words[1:]
    if not words:
        variables |= given
    return words


class _Stop(Exception):
    pass


@cache
def parser_of(tool: Path, module: str | None = None) -> argparse.ArgumentParser:
    """The argument parser of a tool: what it calls first when it is run."""
    found = []

    def parse(parser: argparse.ArgumentParser, *_: object) -> None:
        found.append(parser)
        raise _Stop

    with own_modules(), pytest.MonkeyPatch.context() as patch, pytest.raises(_Stop):
        patch.setattr('argparse.ArgumentParser.parse_args', parse)
        patch.setattr('argparse.ArgumentParser.parse_known_args', parse)
        patch.setattr('sys.argv', [str(tool)])
        patch.syspath_prepend(str(tool.parent))
        if module:
            runpy.run_module(module, run_name='__main__')
        else:
            runpy.run_path(str(tool), run_name='__main__')
    return found[0]


def tools() -> list[Path]:
    """All command line tools of the repository."""
    folders = (REPOSITORY / 'tools', REPOSITORY / 'benchmarks', REPOSITORY / 'docs' / 'scripts')
    paths = (path for folder in folders for path in sorted(folder.rglob('*.py')))
    return [path for path in paths if "__name__ == '__main__'" in path.read_text(encoding='utf-8')]
