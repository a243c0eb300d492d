"""Only salient entries move in phases that forget."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.registry import RUNNERS

from knowswap_mm.engine import SaliencyMaskHook
from knowswap_mm.engine.hooks.importance import top_share
from knowswap_mm.errors import CheckpointError
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=3), forget(iters=4, merge_learned=True)]


@pytest.fixture(scope='module')
def config(picture_tree, host):
    """Config of a masked swap with strong decay, so that everything would move."""

    def make(work_dir, phases=PHASES, share=0.3, mask=True, **changes):
        changes = dict(optim_wrapper__optimizer__weight_decay=0.5, dropout=0.1) | changes
        config = swap_config(picture_tree, work_dir, phases, host=host, policy='all', **changes)
        if mask:
            hook = dict(type='knowswap_mm.SaliencyMaskHook', share=share, samples=9, batch_size=4)
            config.custom_hooks = [dict(type='knowswap_mm.PhaseHook'), hook]
        config.default_hooks.checkpoint.interval = 1
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
        return config

    return make


def masks_of(folder, iteration):
    return torch.load(folder / f'iter_{iteration}.pth', weights_only=False).get('saliency')


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    runner, recorder = train(config(folder))
    return folder, runner, recorder


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30),
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30),
    st.floats(0.01, 1),
)
def test_top_share(first, second, share):
    values = dict(a=torch.tensor(first), b=torch.tensor(second))
    masks = top_share(values, share)
    flat, marked = (torch.cat([part[k] for k in 'ab']) for part in (values, masks))
    count = max(round(share * len(flat)), 1)
    assert not marked[flat == 0].any()
    if (flat != 0).sum() >= count:
        assert marked.sum() >= count
    if marked.any() and not marked.all():
        assert flat[marked].abs().min() >= flat[~marked].abs().max()
    distinct = flat.abs()[flat != 0]
    if len(distinct.unique()) == len(distinct):
        assert marked.sum() <= count


def test_masked_entries_never_move(whole):
    folder, runner, _ = whole
    stored = masks_of(folder, 5)
    assert stored['phase'] == 1
    begin, end = (weights_of(folder / f'phase{n}.pth') for n in ('1_learn', '2_forget'))
    names = {n for n, p in runner.swapper.named_parameters() if p.requires_grad}
    assert set(stored['masks']) == names
    total = sum(mask.numel() for mask in stored['masks'].values())
    assert sum(int(mask.sum()) for mask in stored['masks'].values()) == round(0.3 * total)
    for name, mask in stored['masks'].items():
        assert torch.equal(begin[name][~mask], end[name][~mask]), name
        assert (begin[name][mask] != end[name][mask]).all(), name


def test_without_the_mask_everything_moves(whole, config, tmp_path):
    train(config(tmp_path, mask=False))
    begin, end = (weights_of(tmp_path / f'phase{n}.pth') for n in ('1_learn', '2_forget'))
    for name in masks_of(whole[0], 5)['masks']:
        assert (begin[name] != end[name]).all(), name
    assert_same_weights(begin, weights_of(whole[0] / 'phase1_learn.pth'))  # no mask while learning


def test_the_mask_is_the_gradient_of_the_forget_loss(whole, config, tmp_path):
    """By hand: all twelve images of the forgotten class, true labels, no dropout."""
    folder, _, _ = whole
    hook = dict(type='knowswap_mm.SaliencyMaskHook', share=0.3, samples=99, batch_size=5)
    again = config(tmp_path)
    again.custom_hooks[1] = hook
    again.train_dataloader.dataset.roles.forget.view = 'knowswap_mm.RandomLabelRoleView'
    again.train_dataloader.dataset.roles.forget.dataset.pipeline.pop(1)  # no random flips
    again.load_from, again.resume = str(folder / 'phase1_learn.pth'), True
    again.model.loss = dict(type='knowswap_mm.SwappingLoss')
    runner, _ = train(again)
    swapper = runner.swapper.eval()
    swapper.load_state_dict(weights_of(folder / 'phase1_learn.pth'))
    dataset = runner.train_dataloader.dataset
    samples = [dataset[i] for i in dataset.span('forget')]
    data = dict(
        inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples]
    )
    data = swapper.data_preprocessor(data, False)
    parameters = {n: p for n, p in swapper.named_parameters() if p.requires_grad}
    logits = swapper.host(data['inputs'], mode='tensor')
    labels = torch.full((12,), 1)  # b
    loss = torch.nn.functional.cross_entropy(logits, labels)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    flat = torch.cat([gradient.abs().flatten() for gradient in gradients])
    edge = flat.sort(descending=True).values[round(0.3 * len(flat)) - 1]
    found = masks_of(tmp_path, 5)['masks']
    differing = sum(
        int((found[name] != (gradient.abs() >= edge)).sum())
        for name, gradient in zip(parameters, gradients, strict=True)
    )
    assert differing <= 2  # rounding at the edge


@pytest.mark.parametrize('point', ['iter_2.pth', 'phase1_learn.pth', 'iter_5.pth'])
def test_resumed_equals_uninterrupted(point, whole, config, tmp_path):
    folder, _, recorder = whole
    again = config(tmp_path)
    again.resume, again.load_from = True, str(folder / point)
    _, rest = train(again)
    assert rest.column('loss') == recorder.column('loss')[-len(rest.steps) :]
    assert_same_weights(
        weights_of(tmp_path / 'phase2_forget.pth'), weights_of(folder / 'phase2_forget.pth')
    )
    left, right = (masks_of(path, 6)['masks'] for path in (folder, tmp_path))
    assert all(torch.equal(mask, right[name]) for name, mask in left.items())


def test_each_forget_phase_has_its_own_mask(config, tmp_path):
    phases = [forget(iters=2), learn(iters=2), forget(iters=2)]
    train(config(tmp_path, phases))
    assert masks_of(tmp_path, 1)['phase'] == 0 and masks_of(tmp_path, 5)['phase'] == 2
    assert masks_of(tmp_path, 3) is None
    first, last = masks_of(tmp_path, 1)['masks'], masks_of(tmp_path, 5)['masks']
    assert any(not torch.equal(mask, last[name]) for name, mask in first.items())
    # With B = 0 the gradient of A is zero, and a zero is not salient.
    assert not any(mask.any() for name, mask in first.items() if 'lora_A' in name)


def test_a_checkpoint_without_masks_is_refused(whole, config, tmp_path):
    train(config(tmp_path / 'plain', mask=False))
    again = config(tmp_path / 'again')
    again.resume, again.load_from = True, str(tmp_path / 'plain' / 'iter_5.pth')
    with pytest.raises(CheckpointError, match=r'no saliency mask of phase2_forget.*Fix: resume'):
        RUNNERS.build(again).train()


@pytest.mark.parametrize(
    'settings', [dict(share=0), dict(share=1.5), dict(samples=0), dict(batch_size=True)]
)
def test_bad_values(settings, raises_config_error):
    ((key, value),) = settings.items()
    with raises_config_error(f'custom_hooks.SaliencyMaskHook.{key}', value):
        SaliencyMaskHook(**settings)
