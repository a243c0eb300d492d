"""What a run refuses, and when it stops."""

import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.engine import PhaseHook
from knowswap_mm.errors import CheckpointError, ConfigError, PhaseError
from tests.helpers.swap_configs import learn, swap_config, train, weights_of


def test_weights_that_are_no_numbers_stop_the_run(picture_tree, host, tmp_path):
    weights = weights_of(host)
    weights['backbone.layers.1.ffn.layers.1.weight'][0, 0] = torch.nan
    torch.save(dict(state_dict=weights), tmp_path / 'nan.pth')
    config = swap_config(picture_tree, tmp_path, host=tmp_path / 'nan.pth')
    with pytest.raises(CheckpointError, match=r'not finite.*layers\.1\.ffn\.layers\.1'):
        train(config)


def test_sampler_of_another_split_is_found_out(picture_tree, host, tmp_path):
    runner = RUNNERS.build(swap_config(picture_tree, tmp_path, host=host))
    runner.train()
    phases, loader = runner.swap_schedule.phases, runner.train_dataloader
    addresses = loader.sampler.batch(0)

    def batch(addresses):
        return dict(data_samples=[loader.dataset[a]['data_samples'] for a in addresses])

    PhaseHook._check_batch(phases[0], batch(addresses))
    with pytest.raises(PhaseError, match=r"'learn': 4, 'retain': 3.*phase1_learn needs"):
        PhaseHook._check_batch(phases[0], batch(addresses[:-1]))
    with pytest.raises(PhaseError, match='A sample of phase 0 came in phase2_forget.*Fix: use'):
        PhaseHook._check_batch(phases[1], batch(addresses))


def test_foreign_batches_stop_the_first_iteration(picture_tree, host, tmp_path):
    """A sampler that does not follow the schedule."""
    runner = RUNNERS.build(swap_config(picture_tree, tmp_path, [learn(iters=3)], host=host))
    hook = next(hook for hook in runner.hooks if isinstance(hook, PhaseHook))
    before = hook.before_train_iter

    def swapped(runner, batch_idx, data_batch=None):
        data_batch['data_samples'] = data_batch['data_samples'][2:]
        before(runner, batch_idx, data_batch)

    hook.before_train_iter = swapped
    with pytest.raises(PhaseError, match="'learn': 2, 'retain': 4.*phase1_learn needs"):
        runner.train()
    assert runner.iter == 0


def test_host_must_be_loaded(picture_tree, tmp_path):
    config = swap_config(picture_tree, tmp_path)
    config.swap.allow_random_host = False
    with pytest.raises(CheckpointError, match='load_from = None.*random weights.*Fix: set'):
        train(config)


def test_automatic_resume_without_a_checkpoint_is_no_licence(picture_tree, tmp_path):
    config = swap_config(picture_tree, tmp_path, resume=True)
    config.swap.allow_random_host = False
    with pytest.raises(CheckpointError, match='random weights'):
        train(config)


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (dict(model__head__old_classes=4), 'model.head.old_classes'),
        (dict(model__host__head__num_classes=6), 'model.host'),
        (dict(train_cfg=dict(by_epoch=True, max_epochs=2)), 'train_cfg'),
        (dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2)), 'train_cfg'),
        (dict(train_dataloader=None, train_cfg=None, optim_wrapper=None), 'train_dataloader'),
        (dict(resume=3), 'resume'),
        (dict(swap__classes__forget=['bb']), 'swap.classes.forget'),
        (dict(swap__classes__retain=['b', 'c']), 'swap.classes.retain'),
        (dict(swap__classes__learn=['x', 'a']), 'swap.classes.learn'),
        (dict(swap__phases=[learn(iters=1, split=dict(learn=4, retain=5))]), 'swap.phases.0.split'),
    ],
)
def test_bad_configs_are_named(change, key, picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, host=host)
    for name, value in change.items():
        config.merge_from_dict({name.replace('__', '.'): value})
        if name == 'train_cfg':  # not merged into the old one
            config.train_cfg = value
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == key
    assert 'Fix: ' in str(caught.value)
    assert not list(tmp_path.glob('*.pth'))
