"""Disks that are full, or that not all machines share."""

import errno
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS

from knowswap_mm.distributed.cluster_runner import storage_error
from knowswap_mm.engine import log as log_history
from knowswap_mm.engine.log import SwapLogProcessor, bounded
from knowswap_mm.errors import SwapError
from tests.helpers.namespaces import need_namespaces, own_disk
from tests.helpers.processes import join, start
from tests.helpers.swap_configs import assert_same_weights, learn, swap_config, train, weights_of


@HOOKS.register_module()
class FillingHook(Hook):
    """Fills the disk of the work dir."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            with open(Path(runner.work_dir) / 'filling', 'wb', buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC


def _on_a_small_disk(config):
    said = Path(config.pop('said'))
    own_disk(config.work_dir, '4m')
    try:
        train(config)
    except SwapError as error:
        said.write_text(f'{type(error).__name__}: {error}')


def test_a_disk_that_is_full_while_the_run_logs(picture_tree, host, tmp_path, capfd):
    """Not while it saves: that is a matter of the file that is written."""
    need_namespaces()
    folder = tmp_path / 'small'
    folder.mkdir()
    hooks = [dict(type='FillingHook')]
    config = swap_config(picture_tree, folder, [learn(iters=40)], host=host, custom_hooks=hooks)
    config.default_hooks.logger = dict(type='LoggerHook', interval=1)
    config.default_hooks.checkpoint.interval = 1000
    config.said = str(tmp_path / 'said.txt')
    assert join(start(config, 1, _on_a_small_disk)) == [0]
    text = (tmp_path / 'said.txt').read_text()
    assert text.startswith('CheckpointError: Rank 0: a file of the run in ')
    assert 'No space left' in text and '--resume' in text and str(folder) in text
    err = capfd.readouterr().err
    assert 'Logging error' not in err and err.count('cannot be written any more') <= 1


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_what_a_full_disk_is_called(number):
    found = str(storage_error(OSError(number, os.strerror(number)), 'work_dirs/a'))
    assert os.strerror(number) in found and '--resume' in found and 'work_dirs/a' in found
    assert storage_error(OSError(errno.ENOENT, 'no such file', 'data.jpg'), 'a') is None


def _own_disk_of(config):
    """Train; one rank has a disk of its own in the place of the work dir."""
    if int(os.environ['RANK']) == config.pop('alone'):
        own_disk(config.work_dir)
    try:
        train(config)
    except SwapError as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr, flush=True)
        os._exit(7)


def _said(config, alone, capfd):
    config.alone = alone
    assert join(start(config, 2, _own_disk_of)) == [7, 7]
    lines = capfd.readouterr().err.splitlines()
    found = [line for line in lines if line.startswith('CheckpointError: ')]
    assert len(found) == 2
    return found


@pytest.fixture(scope='module')
def trained(picture_tree, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    train(swap_config(picture_tree, folder, [learn(iters=4)], host=host, batch_size=8))
    return folder


@pytest.mark.distributed
@pytest.mark.parametrize('resume', ['auto', 'path'])
def test_a_resume_on_disks_of_their_own(resume, trained, picture_tree, host, tmp_path, capfd):
    need_namespaces()
    config = swap_config(picture_tree, trained, [learn(iters=4)], host=host, batch_size=4)
    config.resume = 'auto' if resume == 'auto' else str(trained / 'phase1_learn.pth')
    for text in _said(config, 1, capfd):
        assert 'phase1_learn.pth' in text and 'on rank 1 (' in text and 'it is not there' in text
        assert 'all machines share' in text and 'load_from' not in text


@pytest.mark.distributed
def test_only_another_machine_has_the_checkpoints(trained, picture_tree, host, capfd):
    """Rank 0 would have begun anew."""
    need_namespaces()
    config = swap_config(picture_tree, trained, [learn(iters=4)], host=host, batch_size=4)
    config.resume = 'auto'
    for text in _said(config, 0, capfd):
        assert 'resume: rank 0 (' in text and 'has none in' in text
        assert re.search(r'rank 1 \(.*\) has phase1_learn.pth', text)
        assert 'leave --resume out' in text


def test_checkpoints_do_not_grow(picture_tree, host, tmp_path, monkeypatch):
    """And a run that is resumed from a short one logs and ends as if it had all."""
    monkeypatch.setattr(log_history, 'KEPT', 3)
    config = swap_config(picture_tree, tmp_path / 'a', [learn(iters=12)], host=host)
    config.default_hooks.checkpoint.update(interval=4, max_keep_ckpts=-1)
    config.log_processor = dict(type='knowswap_mm.SwapLogProcessor', window_size=4, by_epoch=False)
    train(config)
    for name in ('iter_8', 'iter_12'):
        state = torch.load(tmp_path / f'a/{name}.pth', weights_only=False)
        scalars = state['message_hub']['log_scalars']
        assert len(scalars['train/loss'].data[0]) == len(scalars['train/loss'].data[1]) == 4
    config.work_dir, config.resume = str(tmp_path / 'b'), str(tmp_path / 'a' / 'iter_8.pth')
    train(config)
    assert_same_weights(*(weights_of(tmp_path / n / 'phase1_learn.pth') for n in 'ab'))


def test_a_window_over_the_whole_run_keeps_all():
    scalars = {'train/loss': HistoryBuffer(list(range(5000)), [1] * 5000)}
    custom = [dict(data_src='loss', method_name='mean', window_size='global')]
    assert len(bounded(scalars, SwapLogProcessor(custom_cfg=custom))['train/loss'].data[0]) == 5000
    short = bounded(scalars, SwapLogProcessor(window_size=10))['train/loss']
    assert len(short.data[0]) == log_history.KEPT and short.current() == 4999
    assert len(bounded(scalars, SwapLogProcessor(window_size=2000))['train/loss'].data[0]) == 2000
    assert len(scalars['train/loss'].data[0]) == 5000
