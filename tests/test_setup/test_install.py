"""The set-up: what targets need, when there is nothing to do, and what is said meanwhile."""

import os
import runpy
import shutil
import subprocess
import sys
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
    for name in ('tools/setup', 'requirements'):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    package = [f'knowswap_mm/{name}.py' for name in ('version', 'torchvision_schema_shim')]
    for name in ('setup.py', 'pyproject.toml', *package):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / '.venv' / 'bin').mkdir(parents=True)
    python = tmp_path / '.venv' / 'bin' / 'python'
    # As that of a virtual environment, it finds what the tests use.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = [python, tmp_path / 'tools' / 'setup' / 'environment.py', 'fingerprint']
    done = subprocess.run(environment, capture_output=True, text=True, check=True)
    (tmp_path / '.venv' / stamp).write_text(done.stdout)
    done = subprocess.run(
        ['bash', tmp_path / 'tools' / 'setup' / 'install.sh', 'light'],
        capture_output=True, text=True, timeout=60, env=dict(os.environ, WHEELS=''),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


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


BUILD = """
import sys
print('Collecting onedl-mmcv')
for step in (1, 2, 3):
    print(f'  [{step}/3] c++ -c {step}.cpp', flush=True)
print('it went wrong' if sys.argv[1] == '7' else 'Successfully installed', file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize('code', [0, 7])
def test_what_is_said_of_a_build(code, tmp_path):
    log = tmp_path / 'build.log'
    done = subprocess.run(
        [sys.executable, PROGRESS, log, sys.executable, '-c', BUILD, str(code)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert '[3/3] c++ -c 3.cpp' in log.read_text()
    if code:
        assert done.returncode == 1 and 'it went wrong' in done.stderr
        assert done.stderr.splitlines()[-1] == (
            f'[setup] error: this failed with code 7, see {log}'
        )
    else:
        assert done.returncode == 0 and done.stdout.startswith('[setup] installed in 0:0')
