"""Damaged and lying adapters at every place where one is read."""

import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora import AdapterFile
from knowswap_mm.lora.adapter import AdapterContents, describe_adapter
from tests.helpers.continual_runs import TOOLS, run_tool
from tests.helpers.hostile_files.adapters import ADAPTERS
from tests.helpers.tiny_hosts import build_swapper, changed, randomise_adapters, snapshot

TOOL = TOOLS / 'model_converters' / 'adapter.py'


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole') / 'adapter'
    AdapterFile(folder).save(randomise_adapters(build_swapper()), dict(learn=['a', 'b', 'c']))
    return folder


@pytest.fixture(scope='module')
def target():
    return build_swapper()


@pytest.mark.parametrize('name', ADAPTERS)
def test_loaded_and_stacked(name, whole, target, tmp_path):
    flag, folder = tmp_path / 'flag', tmp_path / 'adapter'
    shutil.copytree(whole, folder)
    ADAPTERS[name](folder, flag)
    before = snapshot(target)
    with pytest.raises(CheckpointError) as caught:
        AdapterFile(folder).load(target)
    assert str(folder) in str(caught.value) and len(str(caught.value)) < 20_000
    assert not changed(before, snapshot(target))
    # Beneath a new adapter.
    with pytest.raises(CheckpointError, match=str(folder)):
        build_swapper(adapters=[str(folder)], head=None).load_state_dict(
            {k: torch.zeros_like(v) for k, v in target.host.state_dict().items()}
        )
    assert not flag.exists()


@pytest.mark.parametrize('name', ADAPTERS)
def test_shown(name, whole, tmp_path):
    """An adapter that can be read is shown with what is wrong with it."""
    flag, folder = tmp_path / 'flag', tmp_path / 'adapter'
    shutil.copytree(whole, folder)
    ADAPTERS[name](folder, flag)
    try:
        text = describe_adapter(AdapterContents(folder))
    except CheckpointError as error:
        assert str(folder) in str(error)
    else:
        assert 'contents    whole' not in text
    assert not flag.exists()


def test_a_run_on_a_broken_stack_writes_nothing(config, trained, tmp_path):
    config = Config(config.to_dict())
    folder = tmp_path / 'adapter'
    shutil.copytree(trained / 'adapter', folder)
    ADAPTERS['manifest_huge_rank'](folder, None)
    config.model.adapters = [str(folder)]
    config.work_dir = str(tmp_path / 'run')
    with pytest.raises(CheckpointError, match='has rank 1000000000'):
        RUNNERS.build(config).train()
    assert not list((tmp_path / 'run').glob('*.pth'))


@pytest.mark.parametrize('name', ['manifest_nested', 'matrices_are_a_pickle', 'folder_missing'])
@pytest.mark.parametrize('command', ['show', 'apply'])
def test_the_tool_ends_with_a_message(command, name, trained, host, config_file, tmp_path):
    flag, folder = tmp_path / 'flag', tmp_path / 'adapter'
    shutil.copytree(trained / 'adapter', folder)
    ADAPTERS[name](folder, flag)
    out = tmp_path / 'out.pth'
    arguments = dict(
        show=['show', folder], apply=['apply', config_file, '--base', host, folder, '--out', out]
    )
    with pytest.raises(SystemExit, match='CheckpointError'):
        run_tool(TOOL, *arguments[command])
    assert not flag.exists() and not out.exists()
