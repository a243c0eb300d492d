"""Training of all weights, without adapters."""

import pytest
import torch
from mmengine.registry import MODELS as HOST_MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from knowswap_mm.models import FullTrainingSwapper
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.tiny_hosts import OLD, batch, new_swapper, randomise, resnet_host, vit_host

KIND = 'knowswap_mm.FullTrainingSwapper'
PLAIN = dict(type='knowswap_mm.WeightedSumLoss')


def full(host=None, **settings):
    config = dict(type=KIND, host=host or vit_host(), head=dict(old_classes=OLD), loss=PLAIN)
    return HOST_MODELS.build(config | settings)


def phase(kind='learn', sparsity=0.0, learn=1.0, split=None):
    weights = dict(learn=learn, retain=1.0, sparsity=sparsity)
    phases = [dict(kind=kind, iters=1, weights=weights, **(dict(split=split) if split else {}))]
    sizes = dict(learn=8, forget=8, retain=8)
    classes = dict(old=list('abcde'), learn=list('xyz'), forget=['b'])
    number = sum(split.values()) if split else 4
    return SwapSchedule.from_config(dict(classes=classes, phases=phases), sizes, number)


def test_every_weight_gets_a_gradient():
    model = full()
    assert isinstance(model, FullTrainingSwapper) and not model.adapters
    assert all(parameter.requires_grad for parameter in model.parameters())
    randomise(model.host)  # a head of zeros would let nothing through
    model.schedule = phase()
    model.swapping_loss.check(model.schedule)
    inputs, samples = batch(['learn', 'retain'])
    terms = model(inputs, samples, mode='loss')
    sum(value for key, value in terms.items() if 'loss' in key).backward()
    assert {key for key in terms if 'loss' in key} == {'loss_learn', 'loss_retain'}
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert not {name for name in without if not name.endswith('k.bias')}


def test_batch_norms_learn_their_statistics():
    model = full(resnet_host())
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert norms and all(norm.training for norm in norms)
    model.eval()
    assert not any(norm.training for norm in norms)
    model.schedule = phase()
    before = norms[0].running_mean.clone()
    model.train()(*batch(['learn', 'retain']), mode='loss')
    assert not torch.equal(norms[0].running_mean, before)


def test_its_weights_are_a_plain_host():
    model = full()
    state = model.state_dict()
    assert not any('lora' in key or 'base_layer' in key for key in state)
    swapper = new_swapper(vit_host())
    swapper.load_state_dict(state, strict=True)
    inputs = batch(['learn'])[0]['learn']
    with torch.no_grad():
        expected, found = (each.eval().host.extract_feat(inputs)[0] for each in (model, swapper))
    torch.testing.assert_close(found, expected)


def test_adapters_are_refused(raises_config_error):
    with raises_config_error('model.lora', dict(rank=4), 'without adapters'):
        full(lora=dict(rank=4))


@pytest.mark.parametrize('policy', ['frozen', 'new_rows'])
def test_other_head_policies_are_refused(policy, raises_config_error):
    with raises_config_error('model.head.policy', policy, 'all weights train'):
        full(head=dict(old_classes=OLD, policy=policy))


def test_phases_about_adapters_are_refused(raises_config_error):
    model = full()
    assert model.set_trainable(phase().phases[0]) is False
    with raises_config_error('swap.phases.0.kind', 'expand', 'new head rows only'):
        model.set_trainable(phase('expand').phases[0])
    with raises_config_error('swap.phases.0.weights.sparsity', 0.01, 'there are none'):
        model.set_trainable(phase(sparsity=0.01).phases[0])


def test_one_batch_is_the_mean_over_all_images():
    losses = []
    inputs, samples = batch(['learn', 'retain'])
    inputs['learn'], samples['learn'] = inputs['learn'][:1], samples['learn'][:1]
    for one_batch in (False, True):
        torch.manual_seed(0)
        model = full(one_batch=one_batch)
        randomise(model.host)
        model.schedule = phase(learn=0.25, split=dict(learn=1, retain=4))
        model.check(model.schedule)
        model.train()
        terms = model(dict(inputs), samples, mode='loss')
        loss = model.parse_losses(terms)[0]
        loss.backward()
        losses.append((terms, loss, [p.grad for p in model.parameters()]))
    (_, by_role, expected), (terms, whole, found) = losses
    assert list(terms) == ['loss_all']
    # The mean over five images, of which the weights make one and a quarter.
    torch.testing.assert_close(1.25 * whole, by_role)
    for grad, other in zip(found, expected, strict=True):
        torch.testing.assert_close(1.25 * grad, other, rtol=1e-4, atol=1e-6)


def test_one_batch_refuses_what_asks_for_roles(raises_config_error):
    model = full(one_batch=True)
    weights = dict(learn=1.0, retain=1.0)
    with raises_config_error('swap.phases.0.weights', weights, "{'learn': 1, 'retain': 4}"):
        model.check(phase(split=dict(learn=1, retain=4)))
    with raises_config_error('model.loss.type', 'SwappingLoss', 'leave model.one_batch out'):
        full(one_batch=True, loss=dict(type='knowswap_mm.SwappingLoss')).check(phase())
