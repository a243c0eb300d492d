"""A teacher is the model at one moment: bit by bit, whatever the model became, and unseen by it."""

import pytest
import torch

from knowswap_mm.models.frozen_state import FrozenState
from tests.helpers.sample_hosts import batch_for, build, build_anew
from tests.helpers.tiny_hosts import randomise_adapters, snapshot

HOSTS = ['vit', 'upernet', 'dino', 'mask2former']


def samples_of(swapper, name, state=None):
    inputs, samples = batch_for(name, swapper)
    if state is not None:
        return state.samples(swapper, dict(retain=inputs['retain']), samples)['retain']
    swapper.eval()
    with torch.no_grad():
        return swapper.sample_losses(inputs['retain'], samples['retain'])


@pytest.mark.parametrize('name', HOSTS)
def test_it_says_what_the_model_said(name):
    swapper = build(name, head=dict(old_classes=4, policy='all'))
    state, expected = FrozenState.of(swapper), samples_of(swapper, name)
    swapper.train()
    randomise_adapters(swapper)
    before = snapshot(swapper)
    found = samples_of(swapper, name, state)
    assert torch.equal(found.nats, expected.nats) and torch.equal(found.logits, expected.logits)
    assert torch.equal(found.features, expected.features)
    assert not found.nats.requires_grad
    after = snapshot(swapper)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert swapper.training and swapper.host.training
    assert not torch.equal(samples_of(swapper, name).nats, expected.nats)


def test_only_what_trains_is_copied():
    swapper = build('vit')
    state = FrozenState.of(swapper)
    assert state.tensors.keys() == {n for n, p in swapper.named_parameters() if p.requires_grad}


def test_new_rows_are_those_of_the_moment():
    swapper = build('vit', head=dict(old_classes=5, policy='new_rows'))
    state, expected = FrozenState.of(swapper), samples_of(swapper, 'vit')
    with torch.no_grad():
        for parameter in swapper.head_rows.values():
            parameter.add_(1.0)
    assert torch.equal(samples_of(swapper, 'vit', state).nats, expected.nats)


def test_a_graph_of_the_present_model_stays_whole():
    """Neither its parameters nor the features that it was lent are touched by a look between."""
    gradients = []
    for look in (False, True):
        swapper = build('vit').eval()
        inputs, samples = batch_for('vit', swapper)
        state = FrozenState.of(swapper)
        features = swapper.fused.extract(swapper.host, dict(inputs))
        with swapper.fused.given(swapper.host, features['retain']):
            found = swapper.samples.run(swapper.host, inputs['retain'], samples['retain'])[1]
            if look:
                taught = state.samples(swapper, dict(forget=inputs['forget']), samples)['forget']
                assert not torch.equal(taught.features, found.features)
            found = swapper.samples.run(swapper.host, inputs['retain'], samples['retain'])[1]
        found.nats.sum().backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in swapper.parameters() if p.grad is not None])
        )
    assert torch.equal(*gradients)


def test_random_numbers_go_on():
    swapper = build('dino')
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    samples_of(swapper, 'dino', FrozenState.of(swapper))
    assert torch.equal(torch.rand(1), expected)


def test_a_stored_state_says_the_same():
    swapper = build('vit')
    state = FrozenState.of(swapper)
    expected = samples_of(swapper, 'vit', state)
    randomise_adapters(swapper)
    again = FrozenState(state.to_dict())
    assert torch.equal(samples_of(swapper, 'vit', again).nats, expected.nats)


def test_compiled_blocks():
    """What was compiled for the present values never stands for the teacher."""
    acceleration = dict(type='knowswap_mm.CompiledBlocks', backend='eager', evaluation=True)
    found = []
    for accelerations in ((), (acceleration,)):
        swapper = build_anew('vit', accelerations=accelerations).eval()
        inputs, samples = batch_for('vit', swapper)
        swapper.sample_losses(inputs['retain'], samples['retain'])
        state = FrozenState.of(swapper)
        randomise_adapters(swapper)
        taught = state.samples(swapper, dict(retain=inputs['retain']), samples, 2)['retain']
        now = swapper.sample_losses(inputs['retain'], samples['retain'], 2)
        assert not torch.allclose(taught.nats, now.nats)
        found += [(taught.nats, *taught.depth, now.nats.detach())]
    torch.testing.assert_close(*found)
