"""What the console shows, and what only the log file has."""

import io
import json
import logging
import warnings

import mmengine
import pytest
from mmengine.logging import MMLogger, print_log

from knowswap_mm import console
from knowswap_mm.cli.main import main
from knowswap_mm.console import DETAIL, Console, ShortLine, quiet_warnings, tell_launcher
from tests.helpers.swap_configs import swap_config, write_config


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said_by(stream, *records):
    """What a console writes of records: message, level, extra, and the file that it came from."""
    handler, logger = Console(stream), logging.Logger('test')
    logger.addHandler(handler)
    for message, level, extra, path in records:
        record = logger.makeRecord('test', level, path, 1, message, (), None, extra=extra)
        logger.handle(record)
    # The first words are the time.
    return [line.partition('  ')[2] or line for line in stream.getvalue().splitlines()]


OURS, LIBRARY = __file__, f'{mmengine.__path__[0]}/runner/runner.py'


@pytest.mark.parametrize(
    ('record', 'shown'),
    [
        (('Phase 1', logging.INFO, None, OURS), ['Phase 1']),
        (('too high', logging.WARNING, None, OURS), ['warning: too high']),
        (('Watched', logging.INFO, DETAIL, OURS), []),
        (('System environment', logging.INFO, None, LIBRARY), []),
        (('is deprecated', logging.WARNING, None, LIBRARY), []),
        (('it broke', logging.ERROR, None, LIBRARY), ['error: it broke']),
        ((ShortLine('lr: 0.1  loss: 1', 'loss 1'), logging.INFO, None, LIBRARY), ['loss 1']),
    ],
)
def test_who_is_heard(record, shown):
    assert said_by(io.StringIO(), record) == shown


def test_a_print_log_of_ours_is_heard(capsys):
    """mmengine's function stands between; the caller counts."""
    logger = MMLogger('test', logger_name='test')
    console.use_console(logger)
    print_log('a class is missing', logger=logger, level=logging.WARNING)
    library = compile('print_log("is deprecated", logger=logger)', LIBRARY, 'exec')
    exec(library, dict(print_log=print_log, logger=logger))
    assert capsys.readouterr().out.endswith('  warning: a class is missing\n')


def test_progress_has_one_line_of_a_terminal():
    steps = [(ShortLine('x', f'step {n}', progress=True), logging.INFO, None, OURS) for n in (1, 2)]
    stream = Terminal()
    said_by(stream, *steps, ('done', logging.INFO, None, OURS))
    first, second = stream.getvalue().splitlines()[-2:]
    assert stream.getvalue().count('\n') == 2 and stream.getvalue().count('\r\x1b[K') == 2
    assert first.endswith('step 2') and second.endswith('done')


def test_an_error_begins_a_line(silent, monkeypatch):
    stream = Terminal()
    logger = logging.Logger('test', logging.INFO)
    logger.addHandler(logging.StreamHandler(stream))
    console.use_console(logger)
    logger.info(ShortLine('x', 'step 1', progress=True))
    console.end_progress()
    console.end_progress()
    assert stream.getvalue().endswith('step 1\n')


def test_progress_is_rare_in_a_file(monkeypatch):
    clock = iter([0, 1, 29, 31, 32])
    monkeypatch.setattr(console.time, 'monotonic', lambda: next(clock))
    steps = [
        (ShortLine('x', f'step {n}', progress=True), logging.INFO, None, OURS) for n in range(5)
    ]
    assert said_by(io.StringIO(), *steps) == ['step 0', 'step 3']


@pytest.fixture
def silent(monkeypatch):
    """The module as it is before the first run of a process."""
    monkeypatch.setattr(console._Said, 'logger', None)
    monkeypatch.setattr(console._Said, 'waiting', [])
    monkeypatch.setattr(console._Said, 'console', None)
    return console


@pytest.fixture
def run(silent, picture_tree, host, tmp_path, capsys):
    """A whole run by the command: the console, and the log file."""
    silent.note('a library said this before there was a log')
    config = swap_config(picture_tree, tmp_path / 'run', host=host)
    config.log_processor = dict(type='knowswap_mm.SwapLogProcessor', by_epoch=False)
    path = write_config(config, tmp_path / 'c.py')
    main(['train', str(path)])
    (log,) = (tmp_path / 'run').glob('*/*.log')
    return capsys.readouterr(), log.read_text()


def test_a_run_shows_what_matters(run):
    (out, err), log = run
    for words in (
        'Swap of ', 'Phase 1 of 2: learn', 'Phase 2 of 2: forget', 'learn ', '| state ',
        '- Learned: ',
    ):  # fmt: skip
        assert words in out and words in log
    for words in (
        'System environment', 'Config:', 'Hooks will be executed', 'Iter(train)',
        'Checkpoints will be saved', 'a library said this',
    ):  # fmt: skip
        assert words not in out and words in log
    assert 'OneDL' not in out and not err
    assert len(out.splitlines()) < 60 < len(log.splitlines())


def test_debugging_brings_all_back(picture_tree, host, tmp_path, capsys):
    config = swap_config(picture_tree, tmp_path / 'run', host=host, log_level='DEBUG')
    main(['train', str(write_config(config, tmp_path / 'c.py'))])
    assert 'Hooks will be executed' in capsys.readouterr().out


def test_warnings_of_libraries_are_noted(silent, monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, 'showwarning', lambda message, *_: shown.append(message))
    quiet_warnings()
    warnings.showwarning('old', UserWarning, '/venv/site-packages/mmcv/ops.py', 3)
    warnings.showwarning('mine', UserWarning, '/home/me/hook.py', 7)
    assert console._Said.waiting == ['/venv/site-packages/mmcv/ops.py:3: UserWarning: old']
    assert shown == ['mine']


@pytest.mark.parametrize(
    ('variables', 'quiet'),
    [
        ({}, False),
        ({'LOCAL_RANK': '1'}, True),
        ({console.SUMMARY: '1'}, True),
        ({console.SUMMARY: '1', 'TORCHELASTIC_MAX_RESTARTS': '3'}, False),
    ],
)
def test_torchrun_is_told_the_reason(variables, quiet, tmp_path, monkeypatch):
    for name in ('LOCAL_RANK', 'TORCHELASTIC_MAX_RESTARTS', console.SUMMARY):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / 'error.json'
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(path))
    assert tell_launcher('ConfigError: no') == quiet
    found = json.loads(path.read_text())['message']
    assert found['message'] == found['extraInfo']['py_callstack'] == 'ConfigError: no'


def test_torchrun_takes_the_reason_for_the_cause(tmp_path, monkeypatch):
    """Not a process that it ended itself, in the same second as it were."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    path = tmp_path / 'error.json'
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(path))
    monkeypatch.setattr('time.time', lambda: 1000.5)
    tell_launcher('ConfigError: no')
    ended = ProcessFailure(local_rank=0, pid=1, exitcode=-15, error_file='there is none')
    told = ProcessFailure(local_rank=1, pid=2, exitcode=1, error_file=str(path))
    assert ended.timestamp == 1000
    assert ChildFailedError('run', {0: ended, 1: told}).get_first_failure() == (1, told)


def test_alone_it_says_it_itself(monkeypatch):
    monkeypatch.delenv('TORCHELASTIC_ERROR_FILE', raising=False)
    assert not tell_launcher('ConfigError: no')
