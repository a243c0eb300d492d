"""A run with the hinge on each sample: from its config, exactly resumed, and refused in time."""

import pytest
from mmengine.registry import RUNNERS

from tests.helpers.swap_configs import assert_same_weights, forget, swap_config, train, weights_of

PHASES = [forget(iters=4, bound=3.0)]


def make(root, folder, host, **changes):
    changes = dict(model__loss__hinge='sample') | changes
    config = swap_config(root, folder, phases=PHASES, host=host, policy='all', **changes)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False))
    return config


def test_a_resumed_run_ends_alike(picture_tree, host, tmp_path):
    runner, recorder = train(make(picture_tree, tmp_path / 'whole', host))
    assert runner.swapper.swapping_loss.hinge == 'sample'
    assert len(set(recorder.column('loss'))) == 4
    changes = dict(resume=True, load_from=str(tmp_path / 'whole' / 'iter_2.pth'))
    _, later = train(make(picture_tree, tmp_path / 'rest', host, **changes))
    assert later.column('loss') == recorder.column('loss')[2:]
    ends = (weights_of(tmp_path / folder / 'iter_4.pth') for folder in ('whole', 'rest'))
    assert_same_weights(*ends)


def test_a_host_that_cannot_be_read_is_refused_before_training(
    picture_tree, tmp_path, raises_config_error
):
    config = make(picture_tree, tmp_path, None)
    config.model.host.head.update(loss=dict(type='AsymmetricLoss'), cal_acc=False)
    with raises_config_error('model.loss.hinge', 'sample', 'ImageClassifier', "hinge='mean'"):
        train(config)
    assert not list(tmp_path.rglob('*.pth'))


def test_an_unknown_hinge_is_refused(picture_tree, tmp_path):
    config = make(picture_tree, tmp_path, None, model__loss__hinge='batch')
    with pytest.raises(Exception, match=r'model\.loss\.hinge'):
        RUNNERS.build(config)
