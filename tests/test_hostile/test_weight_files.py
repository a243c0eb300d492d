"""Hostile and damaged weight files at every place where one is read."""

import argparse
import os
import runpy

import pytest
import torch
from mmengine.registry import RUNNERS
from mmengine.runner.checkpoint import _load_checkpoint

from knowswap_mm.audit.models import ModelFile
from knowswap_mm.cli.commands import convert
from knowswap_mm.errors import CheckpointError, SwapError
from knowswap_mm.io.checkpoints import safe_load, safe_save, state_dict_of, use_data_only_loader
from knowswap_mm.models.loading import load_file_into
from tests.helpers.continual_runs import TOOLS, run_tool
from tests.helpers.forked import run_script
from tests.helpers.hostile_files.broken_weights import BROKEN_WEIGHTS
from tests.helpers.hostile_files.pickles import PICKLES
from tests.helpers.hostile_files.unfit_weights import UNFIT_WEIGHTS
from tests.helpers.swap_configs import plain_config, swap_config, weights_of, write_config
from tests.helpers.tiny_hosts import OLD, build_swapper

CONVERTERS = TOOLS / 'model_converters'
UNREADABLE = {**PICKLES, **BROKEN_WEIGHTS}


@pytest.fixture(scope='module')
def runner(config):
    """What tools/train.py and tools/test.py build."""
    return RUNNERS.build(config)


@pytest.fixture(scope='module')
def readers(config, runner, tmp_path_factory):
    """The functions by which each tool reads a weight file, and the models that they change."""
    tool = {
        name: runpy.run_path(str(CONVERTERS / f'{name}.py'))
        for name in ('extract_backbone', 'publish_weights')
    }
    swapper, out = runner.swapper, tmp_path_factory.mktemp('out') / 'out.pth'

    def arguments(path, **more):
        return argparse.Namespace(checkpoint=[path], weights=path, out=out, **more)

    def by_mmengine(path):
        use_data_only_loader()
        return state_dict_of(_load_checkpoint(str(path), 'cpu'))

    chosen = dict(
        kind='official-vit', rows=None, adapter=None, config=None, alpha=1.0, merged=None, base=None
    )
    return dict(
        safe_load=lambda path: state_dict_of(safe_load(path)),
        train_and_test=lambda path: runner.load_checkpoint(str(path)),
        resume=lambda path: runner.resume(str(path)),
        plain_runner=by_mmengine,
        adapter=lambda path: load_file_into(swapper, path),
        audit=lambda path: ModelFile(config, path),
        convert=lambda path: convert.convert(arguments(path, **chosen)),
        revert=lambda path: convert.revert(arguments(path, **dict(chosen, kind='timm-vit'))),
        extract=lambda path: tool['extract_backbone']['extract'](arguments(path, prefix='b')),
        publish=lambda path: tool['publish_weights']['to_half'](
            tool['publish_weights']['read_checkpoint'](path)['state_dict']
        ),
        written=out,
    )


def snapshot(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def check_untouched(model, before):
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', UNREADABLE)
def test_every_reader_refuses(name, readers, runner, tmp_path):
    flag = tmp_path / 'flag'
    path = UNREADABLE[name](tmp_path / name, flag)
    before = snapshot(runner.swapper)
    for reader, read in readers.items():
        if reader == 'written':
            continue
        with pytest.raises(CheckpointError) as caught:
            read(path)
        message = str(caught.value)
        assert len(message) < 1500 and 'Traceback' not in message, reader
        assert name in message or 'checkpoint' in message, (reader, message)
    assert not flag.exists()
    assert not readers['written'].exists()
    check_untouched(runner.swapper, before)


@pytest.mark.parametrize('name', PICKLES)
def test_the_message_of_a_pickle_tells_what_to_do(name, tmp_path):
    with pytest.raises(CheckpointError, match=r'Fix: |holds a|holds no'):
        state_dict_of(safe_load(PICKLES[name](tmp_path / name, tmp_path / 'flag')))


def test_a_call_is_named_with_the_way_to_convert(tmp_path):
    path = PICKLES['system.pth'](tmp_path / 'system.pth', tmp_path / 'flag')
    words = r'executed.*names posix\.system.*trust its author.*torch\.save.*hostile_files\.md'
    with pytest.raises(CheckpointError, match=words):
        safe_load(path)


@pytest.mark.parametrize('name', UNFIT_WEIGHTS)
@pytest.mark.parametrize('swapped', [False, True], ids=['host', 'swap'])
def test_no_part_of_unfit_weights_is_taken_over(
    name, swapped, readers, runner, host, trained, tmp_path
):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in weights_of(host).items()}
    if swapped:
        state = weights_of(trained / 'phase2_forget.pth')
    UNFIT_WEIGHTS[name](state)
    path = tmp_path / 'unfit.pth'
    safe_save(dict(state_dict=state), path)
    before = snapshot(runner.swapper)
    for reader in ('train_and_test', 'resume', 'adapter', 'audit'):
        with pytest.raises(CheckpointError, match='fit the model|the model .7'):
            readers[reader](path)
    check_untouched(runner.swapper, before)


@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
@pytest.mark.parametrize('name', UNFIT_WEIGHTS)
def test_nothing_changes_whatever_rows_train(name, policy):
    swapper = build_swapper(head=dict(old_classes=OLD, policy=policy))
    state = {k: v + 1 if v.is_floating_point() else v for k, v in swapper.state_dict().items()}
    UNFIT_WEIGHTS[name](state)
    before = snapshot(swapper)
    with pytest.raises((RuntimeError, CheckpointError)):
        swapper.load_state_dict(state)
    check_untouched(swapper, before)


STATES = dict(
    meta_is_a_list=dict(meta=[1]),
    no_iteration=dict(meta=dict(epoch=0)),
    iteration_is_a_text=dict(meta=dict(epoch=0, iter='many')),
    optimizer_is_a_number=dict(optimizer=3),
    optimizer_of_another_model=dict(optimizer=dict(state={}, param_groups=[dict(params=[0])])),
    hub_of_texts=dict(message_hub=dict(log_scalars='a', runtime_info='b', resumed_keys='c')),
    swap_is_a_list=dict(swap=[]),
    swap_without_results=dict(swap=dict()),
    swap_of_texts=dict(swap=dict(schedule='learn', results='good', history='long')),
)


@pytest.mark.parametrize('name', STATES)
def test_other_training_states_are_refused(name, picture_tree, host, trained, tmp_path):
    checkpoint = safe_load(trained / 'phase1_learn.pth')
    checkpoint.update(STATES[name])
    path = tmp_path / 'state.pth'
    safe_save(checkpoint, path)
    config = swap_config(picture_tree, tmp_path / 'run', host=path, resume=True)
    with pytest.raises(SwapError, match=r'state\.pth'):
        RUNNERS.build(config).train()
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_moments_of_another_shape_are_refused(picture_tree, host, trained, tmp_path):
    checkpoint = safe_load(trained / 'phase1_learn.pth')
    moments = next(iter(checkpoint['optimizer']['state'].values()))
    for name, spoiled in (('shape', torch.zeros(3, 3, 3)), ('finite', moments['exp_avg'] / 0)):
        moments['exp_avg'] = spoiled
        safe_save(checkpoint, tmp_path / 'state.pth')
        config = swap_config(
            picture_tree, tmp_path / 'run', host=tmp_path / 'state.pth', resume=True
        )
        with pytest.raises(CheckpointError, match=f'exp_avg of the optimizer .*{name}'):
            RUNNERS.build(config).train()


def commands(config, path, trained, out):
    """The command lines of all tools that read weights, with a file."""
    good = trained / 'phase2_forget.pth'
    return {
        'train --load-from': ['train.py', config, '--load-from', path, '--work-dir', out],
        'train --resume': ['train.py', config, '--resume', path, '--work-dir', out],
        'test': ['test.py', config, path, '--work-dir', out, '--out', out / 'metrics.json'],
        'audit': ['audit.py', config, path, '--out', out],
        'audit --reference': ['audit.py', config, good, '--reference', path, '--out', out],
        'audit --original': ['audit.py', config, good, '--original', path, '--out', out],
        'export': ['model_converters/export.py', config, path, '--out', out],
        'apply': ['model_converters/adapter.py', 'apply', config, trained / 'adapter',
                  '--base', path, '--out', out / 'a.pth'],
        'unload': ['model_converters/adapter.py', 'unload', config, path, '--out', out / 'a.pth'],
        'convert': ['model_converters/convert_checkpoint.py', 'official-vit', path,
                    '--out', out / 'a.pth'],
        'extract': ['model_converters/extract_backbone.py', path, '--out', out / 'a.pth'],
        'publish': ['model_converters/publish_weights.py', path, '--config', config,
                    '--out', out / 'a.safetensors'],
    }  # fmt: skip


@pytest.mark.parametrize(
    'file', ['system.pth', 'system.pkl', 'cut_off.pth', 'huge_shape.safetensors']
)
@pytest.mark.parametrize('command', commands('', '', TOOLS, TOOLS))
def test_every_tool_ends_with_a_message(command, file, config_file, trained, tmp_path):
    flag = tmp_path / 'flag'
    path = UNREADABLE[file](tmp_path / file, flag)
    tool, *arguments = commands(config_file, path, trained, tmp_path / 'out')[command]
    with pytest.raises(SystemExit) as caught:
        run_tool(TOOLS / tool, *arguments)
    assert 'Error' in caught.value.code and file in caught.value.code
    assert not flag.exists()
    assert not [p for p in tmp_path.glob('out/**/*') if p.suffix in ('.pth', '.safetensors')]


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('file', ['system.pth', 'system.pkl', 'compressed.pth'])
def test_training_without_a_swap_reads_data_only_too(file, resume, picture_tree, tmp_path):
    flag = tmp_path / 'flag'
    config = plain_config(picture_tree, tmp_path / 'run')
    config.runner_type = 'Runner'
    config.load_from = str(UNREADABLE[file](tmp_path / file, flag))
    config.resume = resume
    with pytest.raises(SystemExit, match=f'CheckpointError.*{file}'):
        run_tool(TOOLS / 'train.py', write_config(config, tmp_path / 'config.py'))
    assert not flag.exists()


@pytest.mark.parametrize(
    'address',
    [
        'http://127.0.0.1:9/a.pth',
        'https://a.invalid/a.pth',
        's3://a/a.pth',
        'open-mmlab://a',
        'torchvision://resnet18',
    ],
)
def test_nothing_is_fetched(address, readers, monkeypatch):
    def connect(*_):
        raise AssertionError('the network was asked')

    monkeypatch.setattr('socket.socket.connect', connect)
    monkeypatch.setattr('socket.getaddrinfo', connect)
    for reader in ('safe_load', 'train_and_test', 'resume', 'plain_runner'):
        with pytest.raises(CheckpointError, match='nothing is downloaded'):
            readers[reader](address)


@pytest.mark.slow
@pytest.mark.parametrize('command', ['train --load-from', 'extract'])
def test_a_process_ends_with_a_message(command, config_file, trained, tmp_path):
    flag = tmp_path / 'flag'
    path = UNREADABLE['system.pth'](tmp_path / 'system.pth', flag)
    tool, *arguments = commands(config_file, path, trained, tmp_path / 'out')[command]
    done = run_script(TOOLS / tool, *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert 'CheckpointError' in done.stderr and 'posix.system' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not flag.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
@pytest.mark.parametrize('name', ['a.pth', 'a.pkl', 'a.safetensors'])
def test_files_without_the_right_to_read(name, tmp_path):
    (tmp_path / name).write_bytes(b'weights')
    (tmp_path / name).chmod(0)
    with pytest.raises(CheckpointError, match='(?i)permission'):
        safe_load(tmp_path / name)
