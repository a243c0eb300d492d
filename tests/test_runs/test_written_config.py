"""The config in the folder of a run says what the run is, not how a command was called."""

import importlib.util
import runpy
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from knowswap_mm.cli.main import main
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.runs.reader import RunFolder
from tests.helpers.swap_configs import assert_same_weights, swap_config, weights_of, write_config

FIRST, END = 'iter_2.pth', 'phase2_forget.pth'


def run(arguments):
    """Run a command in a second of its own.

    mmengine names logs by the second, and of two runs of a process in one the second writes into
    the folder of the first.
    """
    time.sleep(1.01)
    main(arguments)


@pytest.fixture(scope='module')
def whole(picture_tree, host, tmp_path_factory):
    """The file of a config, and what it was trained to without interruption."""
    root = tmp_path_factory.mktemp('written')
    config = swap_config(picture_tree, root / 'unused', host=host)
    config.default_hooks.checkpoint.interval = 2
    file = write_config(config, root / 'swap.py')
    run(['train', str(file), '--work-dir', str(root / 'run')])
    return file, root / 'run'


@pytest.fixture
def cut(whole, tmp_path):
    """The folder of a run that was killed after two iterations."""
    folder = tmp_path / 'cut'
    folder.mkdir()
    for name in (FIRST, 'run.json', 'swap.py'):
        shutil.copy(whole[1] / name, folder / name)
    return folder


def of_train(cut):
    return ['--resume']


def of_train_by_file(cut):
    return ['--resume', cut / FIRST]


def of_options(cut):
    return ['--cfg-options', f'load_from={cut / FIRST}', 'resume=True']


def texts(folder):
    """The config as a run writes it: in its folder, beside its log, in its checkpoints."""
    found = [path.read_text() for path in (folder / 'swap.py', *folder.glob('*/vis_data/*.py'))]
    found.append(safe_load(folder / END)['meta']['cfg'])
    return {text.replace(str(folder), 'FOLDER') for text in found}


def check(folder, whole):
    """Nothing tells a resumed run from one that was not interrupted."""
    assert_same_weights(weights_of(folder / END), weights_of(whole[1] / END))
    assert texts(folder) == texts(whole[1]) and len(texts(folder)) == 1


@pytest.mark.parametrize('options', [of_train, of_train_by_file, of_options])
def test_a_resumed_run_writes_the_config_of_the_run(options, whole, cut):
    file, _ = whole
    run(['train', str(file), '--work-dir', str(cut), *map(str, options(cut))])
    check(cut, whole)
    config = Config.fromfile(cut / 'swap.py')
    assert not config.get('resume') and 'launcher' not in config
    assert config.load_from == Config.fromfile(file).load_from


@pytest.mark.parametrize('options', [['--resume'], ['--resume', FIRST]])
def test_so_does_one_that_the_tool_of_the_host_resumes(options, whole, cut, monkeypatch):
    """It puts the checkpoint, or nothing, into load_from."""
    spec = importlib.util.find_spec('mmpretrain')
    tool = Path(spec.submodule_search_locations[0]) / '.mim' / 'tools' / 'train.py'
    monkeypatch.chdir(cut)
    monkeypatch.setenv('LOCAL_RANK', '0')
    words = [str(whole[0]), '--work-dir', str(cut), '--no-persistent-workers', *options]
    monkeypatch.setattr(sys, 'argv', ['train.py', *words])
    runpy.run_path(str(tool), run_name='__main__')
    assert_same_weights(weights_of(cut / END), weights_of(whole[1] / END))
    config = Config.fromfile(cut / 'swap.py')
    assert config.load_from == Config.fromfile(whole[0]).load_from
    assert not config.get('resume') and 'launcher' not in config


def test_the_config_of_a_resumed_run_begins_anew_elsewhere(whole, cut, tmp_path):
    run(['train', str(whole[0]), '--work-dir', str(cut), '--resume', str(cut / FIRST)])
    run(['train', str(cut / 'swap.py'), '--work-dir', str(tmp_path / 'again')])
    assert RunFolder(tmp_path / 'again').record['resumed_at'] is None
    check(tmp_path / 'again', whole)


def test_a_checkpoint_of_an_earlier_version_does_not_tell_the_first_weights(whole, cut, tmp_path):
    """Then the config goes on from it as before, instead of beginning a swap with it."""
    state = safe_load(cut / FIRST)
    del state['swap']['load_from']
    torch.save(state, cut / FIRST)
    run(['train', str(whole[0]), '--work-dir', str(cut), *map(str, of_options(cut))])
    config = Config.fromfile(cut / 'swap.py')
    assert (config.resume, config.load_from) == (True, str(cut / FIRST))
    run(['train', str(whole[0]), '--work-dir', str(tmp_path / 'b'), '--resume', str(cut / FIRST)])
    assert texts(tmp_path / 'b') == texts(whole[1])


def test_a_test_leaves_the_config_of_the_run_alone(whole, tmp_path):
    file, trained = whole
    folder = shutil.copytree(trained, tmp_path / 'run')
    before = (folder / 'swap.py').read_text()
    words = [file, folder / 'phase1_learn.pth', '--work-dir', folder]
    run(['test', *map(str, words)])
    assert len(list(folder.glob('*/*.log'))) == 2
    assert (folder / 'swap.py').read_text() == before == RunFolder(folder).config
    assert '/phase1_learn.pth' not in before


def test_a_training_that_does_not_begin_leaves_it_alone(whole, tmp_path):
    folder = shutil.copytree(whole[1], tmp_path / 'run')
    before = (folder / 'swap.py').read_text()
    wrong = ['--cfg-options', 'train_dataloader.batch_size=0']
    with pytest.raises(SystemExit):
        run(['train', str(whole[0]), '--work-dir', str(folder), *wrong])
    assert (folder / 'swap.py').read_text() == before


def test_a_runner_leaves_the_config_that_it_is_given_alone(picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, host=host, resume=False, launcher='none')
    before = config.to_dict()
    runner = RUNNERS.build(config)
    assert config.to_dict() == before
    assert 'resume' not in runner.cfg and runner.cfg.filename == config.filename
