"""The runs that a command line names."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from knowswap_mm.comparison.run import Run
from knowswap_mm.errors import FileError
from knowswap_mm.json_file import read_lines


def read_runs(texts: list[str], seeds: list[int]) -> list[Run]:
    """Spell out all trainings; wrong input ends the command before any of them starts."""
    lines = []
    for text in texts:
        if text.startswith('@'):
            if not Path(text[1:]).is_file():
                sys.exit(f'--runs {text}: there is no such file.')
            try:
                lines += [line for line in read_lines(text[1:]) if not line.startswith('#')]
            except FileError as error:
                sys.exit(f'--runs {text}: {error}')
        else:
            lines.append(text)
    runs = []
    for line in lines:
        name, equals, command = line.partition('=')
        words = shlex.split(command)
        if not name.strip() or not equals or not words:
            sys.exit(f'--runs {line!r} is not NAME=CONFIG [OPTIONS].')
        if not Path(words[0]).is_file():
            sys.exit(f'--runs {line!r}: there is no config file {words[0]}.')
        runs += [Run(name.strip(), words[0], tuple(words[1:]), seed) for seed in seeds]
    folders = [run.folder for run in runs]
    if twice := sorted({folder for folder in folders if folders.count(folder) > 1}):
        sys.exit(f'--runs: two runs would share the folder {twice[0]}. Give them other names.')
    return runs
