"""The entry point: all commands, their help, and what it costs to ask for it."""

import argparse
import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from knowswap_mm.cli.commands.convert import KINDS
from knowswap_mm.cli.commands.data import DATASETS, TASKS
from knowswap_mm.cli.main import Command, build_parser, find_commands, main
from knowswap_mm.converters import TABLES
from knowswap_mm.data_tools.conversion import SOURCES
from knowswap_mm.errors import ConfigError
from knowswap_mm.runs.record import command_line
from knowswap_mm.version import __version__

REPOSITORY = Path(__file__).parents[2]
COMMANDS = find_commands()
#: Tools that are entries to commands.
TOOLS = {
    'train.py': 'train',
    'test.py': 'test',
    'demo.py': 'demo',
    'audit.py': 'audit',
    'compare.py': 'compare',
    'continual.py': 'continual',
    'analysis_tools/report.py': 'report',
    'analysis_tools/block_profile.py': 'block-profile',
    'model_converters/export.py': 'export',
    'model_converters/adapter.py': 'adapter',
    'model_converters/convert_checkpoint.py': 'convert',
}


def parser_of(name):
    """The parser of one command beneath the whole one."""
    (places,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return places.choices[name]


def test_every_tool_is_the_command(monkeypatch):
    for tool, name in TOOLS.items():
        spec = importlib.util.spec_from_file_location('tool', REPOSITORY / 'tools' / tool)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.main == COMMANDS[name].main, tool
    assert set(COMMANDS) == {*TOOLS.values(), 'data', 'doctor', 'init', 'predict', 'swap'}
    for task, command in TASKS.items():
        tool = runpy.run_path(str(REPOSITORY / 'tools' / 'dataset_converters' / f'{task}.py'))
        assert tool['main'] == command.main


def test_help_lists_every_command_in_order(capsys):
    with pytest.raises(SystemExit) as caught:
        main(['--help'])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    listed = text[text.index('\ncommands:') :]
    assert re.findall(r'^ {4}([a-z]\S*)', listed, re.MULTILINE) == list(COMMANDS)


def test_without_a_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert capsys.readouterr().out.startswith('usage: knowswap')


def test_unknown_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(['swop'])
    assert caught.value.code == 2
    assert "invalid choice: 'swop'" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out == f'knowswap_mm {__version__}\n'


@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_a_command(name, capsys):
    command = COMMANDS[name]
    assert command.help[0].isupper() and command.help.endswith(('.', '?'))
    assert '\n' not in command.help and len(command.help) < 100
    with pytest.raises(SystemExit):
        main([name, '--help'])
    text = capsys.readouterr().out
    assert text.startswith(f'usage: knowswap {name}') and command.help in text
    assert all(f'  {example}\n' in text for example in command.examples)


@pytest.mark.parametrize('name', COMMANDS)
def test_every_option_is_explained(name):
    stack = [parser_of(name)]
    while stack:
        for action in stack.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                stack += action.choices.values()
            else:
                assert action.help or action.metavar, action


@pytest.mark.parametrize('name', COMMANDS)
def test_examples_can_be_typed(name):
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        program, typed, *arguments = shlex.split(example, comments=True)
        assert (program, typed) == ('knowswap', name)
        build_parser().parse_args([typed, *arguments])
        COMMANDS[name].parse_args(arguments)  # as the tool does


def test_the_kinds_of_checkpoints_are_all():
    assert list(KINDS) == sorted(TABLES)


def test_the_data_sets_are_all():
    assert {task: list(names) for task, names in DATASETS.items()} == {
        task: sorted(sources) for task, sources in SOURCES.items()
    }
    assert list(DATASETS) == list(TASKS)


@pytest.mark.parametrize('task', TASKS)
def test_older_names_of_the_data_commands(task, monkeypatch, capsys):
    """They do the same, say so in a line, and manifests name the same words."""
    found = []
    monkeypatch.setattr(
        'knowswap_mm.data_tools.conversion.run_conversion',
        lambda args, task: found.append((task, vars(args))),
    )
    words = [DATASETS[task][0], '--source', 'a', '--out', 'b', '--learn', 'x']
    for name in (['data', task], [f'data-{task}']):
        main([*name, *words])
        note = f'note: `knowswap data-{task}` is now `knowswap data {task}`\n'
        assert capsys.readouterr().err == (note if len(name) == 1 else '')
    TASKS[task].main(words)
    for each in found:
        each[1].pop('start', None)
    assert found[0] == found[1] == found[2] and found[0][1]['words'] == words
    assert found[0][0] == task


@pytest.mark.parametrize(
    ('result', 'code'),
    [
        (None, None),
        (0, None),
        (3, 3),
        (ConfigError('a', 1, 'is wrong', 'fix it'), 'ConfigError: '),
    ],
)
def test_how_a_command_ends(result, code):
    def run(args):
        assert args.word == 'x'
        if isinstance(result, Exception):
            raise result
        return result

    command = Command('Do it.', ('do x',), lambda parser: parser.add_argument('word'), run, 1)
    if code is None:
        command.main(['x'])
        return
    with pytest.raises(SystemExit) as caught:
        command.main(['x'])
    found = caught.value.code
    assert found == code if isinstance(code, int) else found.startswith(f'{code}a = 1: is wrong')


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['/usr/bin/knowswap', 'train', 'a b.py'], "knowswap train 'a b.py'"),
        (['/x/knowswap_mm/__main__.py', 'train', 'a.py'], 'knowswap train a.py'),
        (['tools/train.py', 'a.py'], 'python tools/train.py a.py'),
    ],
)
def test_the_report_names_the_command(argv, text, monkeypatch):
    monkeypatch.setattr(sys, 'argv', argv)
    assert command_line() == text
