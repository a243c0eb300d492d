"""The elastic penalty on effective weights."""

import math

import pytest
import torch

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.injector import lora_layers
from knowswap_mm.models import ElasticWeightLoss, original_host
from knowswap_mm.models.losses.baselines import diagonal_fisher
from tests.helpers.tiny_hosts import OLD, TOTAL, batch, build_swapper, randomise_adapters

NAME = 'knowswap_mm.ElasticWeightLoss'
HEAD = 'head.layers.head.weight'


def swapper_with(policy='all', strength=3.0):
    head = dict(old_classes=OLD, policy=policy, new_rows_init='xavier')
    return build_swapper(loss=dict(type=NAME, strength=strength), head=head)


def single_samples(count=5):
    inputs, samples = batch(['retain'], count=count)
    for picture, sample in zip(inputs['retain'], samples['retain'], strict=True):
        yield dict(inputs=picture[None], data_samples=[sample])


@pytest.fixture(params=['frozen', 'new_rows', 'all'])
def swapper(request):
    swapper = swapper_with(request.param)
    swapper.swapping_loss.consolidate(swapper, single_samples())
    return swapper


def change(swapper):
    randomise_adapters(swapper)
    with torch.no_grad():
        for parameter in swapper.swapping_loss._rows.values():
            parameter.add_(torch.randn_like(parameter))
    return swapper


def test_fisher_by_hand():
    """For one linear and a cross entropy: the square of (p - y) x, averaged over samples."""
    host = original_host(swapper_with())
    found = diagonal_fisher(host, [HEAD], single_samples())[HEAD]
    total = torch.zeros_like(found)
    for sample in single_samples():
        with torch.no_grad():
            features = host.head.pre_logits(host.extract_feat(sample['inputs']))
            error = host.head(host.extract_feat(sample['inputs'])).softmax(1)
        error[0, int(sample['data_samples'][0].gt_label)] -= 1
        total += (error.T @ features).square()
    torch.testing.assert_close(found, total / 5, rtol=1e-4, atol=1e-8)


def test_nothing_to_pay_at_the_start(swapper):
    penalty = swapper.swapping_loss.penalty()
    assert penalty.item() == 0
    if penalty.requires_grad:
        penalty.backward()
        for parameter in swapper.parameters():
            assert parameter.grad is None or not parameter.grad.any()


def test_penalty_by_hand(swapper):
    change(swapper)
    loss, total = swapper.swapping_loss, 0.0
    deltas = {}
    for name, layer in lora_layers(swapper.host):
        (a,), (b,), (scale,) = (
            part.values() for part in (layer.lora_A, layer.lora_B, layer.scaling)
        )
        deltas[f'{name}.weight'] = scale * b.weight.detach() @ a.weight.detach()
    if swapper.head_policy == 'all':
        for name in (HEAD, HEAD.replace('weight', 'bias')):
            delta = swapper.host.get_parameter(name).detach() - swapper.start_rows.tensors()[name]
            deltas[name] = torch.cat([delta[:OLD], torch.zeros_like(delta[OLD:])])
    fisher = diagonal_fisher(original_host(swapper), list(deltas), single_samples())
    for name, delta in deltas.items():
        total += float((fisher[name] * delta**2).sum())
    assert loss.penalty().item() == pytest.approx(total, rel=1e-4) and total > 0


def test_terms_and_gradients(swapper):
    change(swapper)
    inputs, samples = batch(['learn', 'retain'])
    terms = swapper(inputs, samples, mode='loss')
    value = swapper.swapping_loss.penalty()
    assert terms['loss_elastic'].item() == pytest.approx(1.5 * value.item(), rel=1e-5)
    assert terms['elastic'].item() == value.item() and not terms['elastic'].requires_grad
    layer = next(lora_layers(swapper.host))
    (b,) = layer[1].lora_B.values()
    gradient = torch.autograd.grad(terms['loss_elastic'], b.weight)[0]
    (a,), (scale,) = layer[1].lora_A.values(), layer[1].scaling.values()
    fisher = swapper.swapping_loss._fisher[f'{layer[0]}.weight']
    # d/dB of 3/2 sum F (s B A)^2 = 3 s (F * s B A) A^T
    delta = scale * b.weight @ a.weight
    torch.testing.assert_close(gradient, 3.0 * scale * (fisher * delta) @ a.weight.T)


def test_new_rows_are_free(swapper):
    before = swapper.swapping_loss.penalty().item()
    with torch.no_grad():
        for name, parameter in swapper.swapping_loss._rows.items():
            rows = parameter if 'original' in name else parameter[OLD:TOTAL]
            rows.add_(1.0)
    assert swapper.swapping_loss.penalty().item() == before == 0


def test_values_come_back_after_a_resume(swapper):
    change(swapper)
    again = swapper_with(swapper.head_policy)
    again.load_state_dict(swapper.state_dict())
    again.swapping_loss.consolidate(again, single_samples())
    assert again.swapping_loss.penalty().item() == swapper.swapping_loss.penalty().item()
    assert swapper.state_dict().keys() == swapper_with(swapper.head_policy).state_dict().keys()


def test_needs_the_hook():
    inputs, samples = batch(['learn', 'retain'])
    with pytest.raises(ConfigError, match=r'custom_hooks.*FisherHook'):
        swapper_with()(inputs, samples, mode='loss')


@pytest.mark.parametrize('value', [-1, math.inf, '1'])
def test_bad_strength(value, raises_config_error):
    with raises_config_error('model.loss.strength', value, 'finite number'):
        ElasticWeightLoss(value)
