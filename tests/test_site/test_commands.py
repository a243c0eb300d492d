"""Each command of the pages names files that exist and flags that its tool knows."""

import argparse
import ast
import re
from pathlib import Path

import pytest
from mmengine.config import DictAction

from knowswap_mm.engine.config import open_config
from tests.helpers.doc_blocks import REPOSITORY, blocks_of
from tests.helpers.doc_commands import PYTHON, commands_of, parser_of, tools

PAGES = [
    REPOSITORY / 'README.md',
    REPOSITORY / 'CONTRIBUTING.md',
    REPOSITORY / 'weights' / 'README.md',
    *sorted((REPOSITORY / 'docs').rglob('*.md')),
]
MAKEFILE = (REPOSITORY / 'Makefile').read_text()
#: Scripts that are used with the arguments of another one.
SCRIPTS = {'dist_train.sh': 'train.py', 'slurm_train.sh': 'train.py', 'dist_test.sh': 'test.py'}
#: Modules of Python and its packages; their arguments are not ours.
MODULES = ('timeit', 'pip', 'http.server')


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def check_script(command, script, arguments):
    """A tool of ours or of a host library, or a file that the page makes the reader save."""
    path = REPOSITORY / script  # an absolute path stays one
    own = {block.file for block in blocks_of(command.page) if block.file}
    if script in own:
        assert not arguments, command
        return
    assert path.is_file(), f'{command}: there is no {script}'
    if path.suffix == '.sh':
        check_script(command, f'tools/{SCRIPTS[path.name]}', arguments_of_script(path, arguments))
        return
    try:
        parsed = parser_of(path).parse_args(arguments)
    except SystemExit:
        pytest.fail(f'{command}: its tool does not take these arguments')
    config = Path(str(getattr(parsed, 'config', '')))
    if config.is_file() and REPOSITORY in path.parents:
        options = getattr(parsed, 'cfg_options', None)
        if isinstance(options, list):  # a benchmark hands them on as they are
            pairs = (option.split('=', 1) for option in options)
            options = {key: DictAction._parse_iterable(value) for key, value in pairs}
        open_config(config, options)  # refuses keys that lead nowhere


def arguments_of_script(path, arguments):
    """Without the number of processes, or the partition and the name of the job."""
    if path.name.startswith('slurm'):
        return arguments[2:]
    config, count, *rest = arguments
    assert count.isdecimal() or count.isupper(), f'{path.name} takes a number, not {count}'
    return [config, *rest]


def check_make(command, arguments):
    for word in arguments:
        name, sign, _ = word.partition('=')
        pattern = rf'^{name} \?=' if sign else rf'^{name}:'
        assert re.search(pattern, MAKEFILE, re.MULTILINE), f'{command}: make knows no {name}'


def check_python(command, arguments):
    if arguments[0] == '-c':
        ast.parse(arguments[1])
    elif arguments[0] != '-m':
        check_script(command, arguments[0], arguments[1:])
    elif arguments[1] == 'pytest':
        places = [word for word in arguments[2:] if '/' in word and not word.startswith('-')]
        assert all((REPOSITORY / word.split('::')[0]).exists() for word in places), command
    elif arguments[1] == 'knowswap_mm':
        check_entry_point(arguments[2:])
    else:
        assert arguments[1] in MODULES, command


def check_entry_point(arguments):
    if not arguments or arguments[0].isupper():  # stands for any command
        return
    parser = parser_of(REPOSITORY / 'knowswap', 'knowswap_mm')
    if len(arguments) == 1:  # the prose names a command
        arguments = [*arguments, '--help']
    try:
        parser.parse_args(arguments)
    except SystemExit as end:
        assert end.code == 0, f'knowswap does not take {arguments}'


COMMANDS = [command for page in PAGES for command in commands_of(page)]


def test_the_commands_are_found():
    """As many as there are on the pages, or more; were none found, nothing would be checked."""
    assert len(COMMANDS) > 110
    found = {str(command) for command in COMMANDS}
    assert 'recipe.md: .venv/bin/python tools/train.py my_swap.py' in found
    assert any('hostile_files.md: python -c' in text for text in found)
    assert any('fashion_mnist.md' in text and '--parallel 2' in text for text in found)
    assert any('mmseg/.mim/tools/train.py' in text for text in found)


@pytest.mark.parametrize('command', COMMANDS, ids=str)
def test_command(command):
    program, *arguments = command.words
    program = program.removeprefix('.venv/bin/') if program not in PYTHON else 'python'
    if program == 'make':
        check_make(command, arguments)
    elif program == 'python':
        check_python(command, arguments)
    elif program == 'knowswap':
        check_entry_point(arguments)
    elif program == 'pip':
        assert arguments[0] == 'install', command
    elif program == 'bash':
        assert arguments[0].startswith('work_dirs/'), command  # what a run wrote
    else:
        check_script(command, program, arguments)


def flags():
    """All flags of all tools."""
    found = {'--help'}
    parsers = [parser_of(tool) for tool in tools()]
    for parser in [*parsers, parser_of(REPOSITORY / 'knowswap', 'knowswap_mm')]:
        stack = [parser]
        while stack:
            for action in stack.pop()._actions:
                found.update(action.option_strings)
                if isinstance(action, argparse._SubParsersAction):
                    stack.extend(action.choices.values())
    return found


#: Flags of programs that are not ours.
FOREIGN = {'--no-build-isolation', '--system-site-packages', '--numprocesses'}


def test_flags_in_the_prose_exist():
    known = flags() | FOREIGN
    unknown = {}
    for page in PAGES:
        if page.name == 'migrate.md':  # a table of the flags of another program
            continue
        for text in re.findall(r'`([^`\n]*)`', page.read_text()):
            for flag in re.findall(r'(?<![\w-])--[a-z][\w-]*', text):
                if flag not in known:
                    unknown.setdefault(page.name, []).append(flag)
    assert not unknown


def test_a_wrong_flag_would_be_found():
    command = next(c for c in COMMANDS if 'tools/train.py' in c.words)
    with pytest.raises(pytest.fail.Exception, match='does not take'):
        check_script(command, 'tools/train.py', ['my_swap.py', '--epochs', '5'])
    with pytest.raises(AssertionError, match='there is no'):
        check_script(command, 'tools/training.py', [])
    with pytest.raises(AssertionError, match='make knows no'):
        check_make(command, ['swap'])
