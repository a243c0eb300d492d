"""``knowswap demo``, and where it finds what ships with the package."""

import shutil
import sys
from pathlib import Path

import pytest

import knowswap_mm
from knowswap_mm.cli.commands.demo import show
from knowswap_mm.cli.main import main
from knowswap_mm.errors import FileError
from knowswap_mm.installation import checkout, shipped

REPOSITORY = Path(__file__).parents[2]
DEMO = 'configs/demo/vit-demo_shapes_learn-forget.py'


def test_files_of_a_checkout():
    assert checkout() == REPOSITORY and shipped(DEMO) == REPOSITORY / DEMO


def test_files_of_an_installed_package(tmp_path, monkeypatch):
    """They are in .mim, and nowhere else."""
    package = tmp_path / 'site-packages' / 'knowswap_mm'
    monkeypatch.setattr(knowswap_mm, '__file__', str(package / '__init__.py'))
    place = package / '.mim' / DEMO
    place.parent.mkdir(parents=True)
    place.write_text('')
    assert checkout() is None and shipped(DEMO) == place
    with pytest.raises(FileError, match=r'weights should be here and is not\. Fix: install'):
        shipped('weights')


@pytest.mark.parametrize('code', [0, 7])
@pytest.mark.parametrize('inside', [False, True])
def test_what_it_runs(code, inside, tmp_path, monkeypatch):
    """Data and training by commands in the current folder; it stops where one fails."""
    done = []

    def call(command, env):
        assert command[0] == sys.executable and env['OMP_NUM_THREADS']
        done.append(command[1:])
        return code if 'train' in command else 0

    monkeypatch.setattr('subprocess.call', call)
    monkeypatch.chdir(REPOSITORY if inside else tmp_path)
    with pytest.raises(SystemExit) as caught:  # nothing was trained, so there are no results
        main(['demo', '--data', 'shapes', '--work-dir', str(tmp_path / 'runs')])
    root = '' if inside else f'{REPOSITORY}/'
    weights = f'{root}weights/vit-demo-shapes_7cls.safetensors'
    assert done == [
        [f'{root}tools/dataset_converters/shapes.py'],
        ['-m', 'knowswap_mm', 'train', f'{root}{DEMO}', '--load-from', weights, '--work-dir',
         str(tmp_path / 'runs')],
    ]  # fmt: skip
    assert ('train' in caught.value.code) == bool(code)
    assert caught.value.code.startswith('The demo stopped' if code else 'ConfigError: WORK_DIR')


def test_its_last_words_are_those_of_the_run(tmp_path, capsys):
    """The run of old_files, from before there were any."""
    old = Path(__file__).parents[1] / 'old_files' / 'run'
    for name in ('swap_results.json', 'schedule.json'):
        shutil.copy(old / name, tmp_path)
    show(tmp_path, 'shapes')
    said = capsys.readouterr().out
    assert str(tmp_path / 'report.html') in said
    assert said.endswith('\nIt worked, as far as the answers tell.\n')
