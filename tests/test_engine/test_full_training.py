"""A reference that was trained on the roles' data from random weights."""

import torch
from mmengine.registry import DefaultScope

from knowswap_mm.audit.models import ModelFile
from tests.helpers.swap_configs import assert_same_weights, learn, swap_config, train, weights_of

PHASES = [learn(iters=4, weights=dict(learn=1.0, retain=1.0, sparsity=0.0))]


def reference_config(root, work_dir, **changes):
    config = swap_config(root, work_dir, PHASES, policy='all', **changes)
    config.model.pop('lora', None)
    config.model.update(
        type='knowswap_mm.FullTrainingSwapper', loss=dict(type='knowswap_mm.WeightedSumLoss')
    )
    return config


def test_trains_resumes_and_serves_an_audit(picture_tree, host, tmp_path):
    config = reference_config(
        picture_tree, tmp_path / 'whole', dropout=0.1, default_hooks__checkpoint__interval=1
    )
    runner, recorder = train(config)
    assert len(recorder.column('loss')) == 4
    folder = tmp_path / 'whole'
    assert not (folder / 'adapter').exists() and not (folder / 'adapters').exists()
    seen = {role for step in recorder.steps for role, *_ in step['samples']}
    assert seen == {'learn', 'retain'}

    again = reference_config(picture_tree, tmp_path / 'again', dropout=0.1)
    again.resume, again.load_from = True, str(folder / 'iter_3.pth')
    train(again)
    last = weights_of(folder / 'phase1_learn.pth')
    assert_same_weights(last, weights_of(tmp_path / 'again' / 'phase1_learn.pth'))

    swap = swap_config(picture_tree, tmp_path / 'swap', host=host, policy='all')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        file = ModelFile(swap, folder / 'phase1_learn.pth')
    assert not file.adapted
    state = file.host().state_dict()
    trained = runner.swapper.host.state_dict()
    assert state.keys() == trained.keys()
    assert all(torch.equal(state[name], trained[name].cpu()) for name in state)
