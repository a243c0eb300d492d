"""``knowswap demo`` and the repository that it needs."""

import shutil
from pathlib import Path

import pytest

import knowswap_mm
from knowswap_mm.cli.commands.demo import show
from knowswap_mm.cli.main import main
from knowswap_mm.cli.options import find_checkout
from knowswap_mm.errors import SwapError


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The package is installed, and the current folder is empty."""
    place = tmp_path / 'site-packages' / 'knowswap_mm' / '__init__.py'
    monkeypatch.setattr(knowswap_mm, '__file__', str(place))
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    return tmp_path


def make_checkout(folder):
    for name in ('configs/demo', 'tools/dataset_converters', 'weights'):
        (folder / name).mkdir(parents=True)
    return folder


def test_outside_of_the_repository(elsewhere):
    with pytest.raises(SwapError, match=r'^The demo needs .*weights/.*Fix: clone'):
        find_checkout('The demo')
    with pytest.raises(SystemExit, match='^SwapError: The demo needs'):
        main(['demo'])
    assert not list((elsewhere / 'here').iterdir())


def test_the_current_folder_may_be_the_repository(elsewhere):
    root = make_checkout(elsewhere / 'here')
    assert find_checkout('The demo') == root


def test_the_folder_of_the_package_comes_first(elsewhere):
    make_checkout(elsewhere / 'here')
    root = make_checkout(elsewhere / 'site-packages')
    assert find_checkout('The demo') == root


@pytest.mark.parametrize('code', [0, 7])
def test_what_it_runs(code, elsewhere, monkeypatch):
    """Data and training by the commands of the repository; it stops where one fails."""
    root, done = make_checkout(elsewhere / 'here'), []

    def call(command, cwd, env):
        done.append(command[1:])
        assert cwd == root and env['OMP_NUM_THREADS']
        return code if 'train' in command else 0

    monkeypatch.setattr('subprocess.call', call)
    with pytest.raises(SystemExit) as caught:  # nothing was trained, so there are no results
        main(['demo', '--data', 'shapes', '--work-dir', 'runs/demo'])
    assert done[0] == ['tools/dataset_converters/shapes.py']
    config = 'configs/demo/vit-demo_shapes_learn-forget.py'
    assert done[1] == ['-m', 'knowswap_mm', 'train', config, '--work-dir', 'runs/demo']
    assert ('train' in caught.value.code) == bool(code)
    assert caught.value.code.startswith('The demo stopped' if code else 'ConfigError: WORK_DIR')


def test_its_last_words_are_those_of_the_run(tmp_path, capsys):
    """The run of old_files, from before there were any."""
    old = Path(__file__).parents[1] / 'old_files' / 'run'
    for name in ('swap_results.json', 'schedule.json'):
        shutil.copy(old / name, tmp_path)
    show(tmp_path, 'shapes')
    said = capsys.readouterr().out
    assert 'It worked, as far as the answers tell.\n- Learned: 0.0 → 100.0 (yes)\n' in said
    assert '- Nothing has to be changed.\n' in said and str(tmp_path / 'report.html') in said
