"""The set-up: what targets need, when there is nothing to do, and what is said meanwhile."""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SETUP = REPOSITORY / 'tools' / 'setup'
PROGRESS = SETUP / 'with_progress.py'


@pytest.mark.parametrize(
    ('target', 'light'),
    [
        ('demo', True), ('setup-light', True), ('setup', False), ('demo-detection', False),
        ('demo-segmentation', False), ('test', False), ('lint', False), ('bench', False),
    ],
)  # fmt: skip
def test_only_the_demo_of_a_classifier_is_light(target, light):
    done = subprocess.run(
        ['make', '--dry-run', '--no-print-directory', target], cwd=REPOSITORY,
        env={k: v for k, v in os.environ.items() if not k.startswith('MAKE')},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = f'bash tools/setup/install.sh{" light" if light else ""}'
    assert done.stdout.splitlines()[0] == wanted


def test_another_word_is_refused():
    done = subprocess.run(
        ['bash', SETUP / 'install.sh', 'heavy'], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1 and "no set-up 'heavy'" in done.stderr and not done.stdout


@pytest.mark.parametrize('stamp', ['.setup-stamp', '.setup-stamp-light'])
def test_a_light_set_up_is_part_of_a_full_one(stamp, tmp_path):
    """Either stamp is enough, and a tree that has one is left alone."""
    python = copy_of_the_set_up(tmp_path)
    # As that of a virtual environment, it finds what the tests use.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    environment = [python, tmp_path / 'tools' / 'setup' / 'environment.py', 'fingerprint']
    done = subprocess.run(environment, capture_output=True, text=True, check=True)
    (tmp_path / '.venv' / stamp).write_text(done.stdout)
    done = subprocess.run(
        ['bash', tmp_path / 'tools' / 'setup' / 'install.sh', 'light'],
        capture_output=True, text=True, timeout=60, env=dict(os.environ, WHEELS=''),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


#: Writes down what is asked of pip and checks nothing; what is installed is what the tests use.
PYTHON = """#!/bin/sh
case "$*" in
*"-m pip install"*) echo "${{PYTHONDONTWRITEBYTECODE-kept}} $*" >>{log} ;;
*"-m pip"* | *install_shim* | *" ops" | *" mmcv" | *" check_"*) ;;
*) exec {python} "$@" ;;
esac
"""


@pytest.mark.parametrize('mode', ['light', 'full'])
def test_pip_compiles_everything_for_everything_only(mode, tmp_path):
    """The bytecode that is written is there for the next start, whatever the user's shell says."""
    python, log = copy_of_the_set_up(tmp_path), tmp_path / 'pip.log'
    python.write_text(PYTHON.format(log=log, python=sys.executable))
    (tmp_path / '.venv' / 'pyvenv.cfg').write_text('include-system-site-packages = true\n')
    done = subprocess.run(
        ['bash', tmp_path / 'tools' / 'setup' / 'install.sh', mode], capture_output=True, text=True,
        timeout=60, env=dict(os.environ, WHEELS='', VENV_ARGS='', PYTHONDONTWRITEBYTECODE='1'),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    said = log.read_text().splitlines()
    assert len(said) == 3 and all(line.startswith('kept -m pip install -qq') for line in said)
    assert {'--no-compile' in line for line in said} == {mode == 'light'}


def copy_of_the_set_up(folder):
    """What install.sh reads, and the place of a Python; returns that."""
    for name in ('tools/setup', 'requirements'):
        shutil.copytree(REPOSITORY / name, folder / name)
    package = [f'knowswap_mm/{name}.py' for name in ('version', 'torchvision_schema_shim')]
    for name in ('setup.py', 'pyproject.toml', *package):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    python = folder / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    return python


def test_the_fingerprint_tells_light_from_full(capsys):
    script = runpy.run_path(str(SETUP / 'environment.py'))
    assert script['compiled']() is True
    with pytest.raises(SystemExit) as caught:
        script['mmcv']()
    assert not caught.value.code
    script['fingerprint']()
    full = capsys.readouterr().out
    script['fingerprint'].__globals__['compiled'] = lambda: False
    script['fingerprint']()
    assert capsys.readouterr().out != full


def test_the_estimate_is_that_of_the_speed_so_far():
    describe = runpy.run_path(str(PROGRESS))['describe']
    said = '[setup] compiled {} of 90 files in {}'.format
    assert describe(1, 90, 40.0, 0.0) == said(1, '0:40')
    assert describe(31, 90, 130.0, 100.0) == said(31, '2:10, about 3:16 left')
    assert describe(90, 90, 400.0, 370.0) == said(90, '6:40')


#: Says what pip and ninja say, has a compiler as ninja does, and ends as it is told to.
BUILD = """
import subprocess, sys, time
end = sys.argv[1]
print('Collecting onedl-mmcv')
for step in (1, 2, 3):
    print(f'  [{step}/5] c++ -c {step}.cpp', flush=True)
if end == 'wait':
    sleep = 'import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); '
    sleep += 'print(1, flush=True); time.sleep(200)'
    compiler = subprocess.Popen([sys.executable, '-c', sleep], stdout=subprocess.PIPE)
    compiler.stdout.read(1)  # it ignores what ends others
    print('compiler', compiler.pid, flush=True)
    compiler.wait()
for step in (4, 5):
    print(f'  [{step}/5] c++ -c {step}.cpp', flush=True)
print('it went wrong' if end == '7' else 'Successfully installed', file=sys.stderr)
sys.exit(int(end))
"""
#: The script, which shows each step even where the output is no terminal.
EAGER = """
import runpy, sys
script = runpy.run_path(sys.argv.pop(1))['main']
script.__globals__['PAUSE'] = 0
script()
"""


def build(log, end, **options):
    command = [sys.executable, '-c', EAGER, PROGRESS, log, sys.executable, '-c', BUILD, end]
    return subprocess.Popen(command, **dict(dict(stderr=subprocess.PIPE, text=True), **options))


@pytest.mark.parametrize('end', ['0', '7'])
def test_what_is_said_of_a_build(end, tmp_path):
    log = tmp_path / 'build.log'
    child = build(log, end, stdout=subprocess.PIPE)
    said, errors = child.communicate(timeout=60)
    assert '[5/5] c++ -c 5.cpp' in log.read_text()
    lines = said.splitlines()
    assert [line.split(' in ')[0] for line in lines[:5]] == [
        f'[setup] compiled {step} of 5 files' for step in range(1, 6)
    ]
    assert [' left' in line for line in lines[:5]] == [False, False, False, True, False]
    if end == '7':
        assert child.returncode == 1 and len(lines) == 5 and 'it went wrong' in errors
        assert errors.splitlines()[-1] == f'[setup] error: this failed with code 7, see {log}'
    else:
        assert child.returncode == 0 and lines[5].startswith('[setup] installed in 0:0')


def test_one_line_in_a_terminal(tmp_path):
    """It is written over, and what follows begins below it."""
    ours, theirs = os.openpty()
    child = build(tmp_path / 'build.log', '0', stdout=theirs)
    os.close(theirs)
    said = b''
    with suppress(OSError):  # what Linux says when nobody has the other end any more
        while more := os.read(ours, 1000):
            said += more
    os.close(ours)
    assert child.wait(60) == 0 and not child.stderr.read()
    progress, *rest = said.decode().split('\r\n')
    assert progress.count('\r\x1b[K[setup] compiled') == 5
    assert rest[0].startswith('[setup] installed in') and rest[1:] == ['']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=str)
def test_an_interrupted_build_leaves_no_compiler(number, tmp_path):
    log = tmp_path / 'build.log'
    child = build(log, 'wait', stdout=subprocess.PIPE)
    began = time.monotonic()
    while not log.is_file() or 'compiler' not in log.read_text():
        assert child.poll() is None and time.monotonic() - began < 60
        time.sleep(0.05)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    (line,) = errors.splitlines()
    assert line.startswith('[setup] interrupted after 0:') and line.endswith(f'the log is {log}')
    compiler = int(log.read_text().split('compiler ')[1].split()[0])
    while alive(compiler):
        assert time.monotonic() - began < 60
        time.sleep(0.05)


def alive(number):
    """Whether a process runs: what has ended and waits for its parent does not."""
    try:
        state = Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'
