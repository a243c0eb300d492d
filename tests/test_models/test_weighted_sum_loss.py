"""Descent on all roles, and ascent on the forgotten one."""

import math

import pytest
import torch

from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters
from knowswap_mm.models import GradientAscentLoss, WeightedSumLoss
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.tiny_hosts import build_host, randomise_adapters, vit_host

KINDS = dict(learn=('learn', 'retain'), forget=('forget', 'retain'))
KINDS['joint'] = ('learn', 'forget', 'retain')
WEIGHTS = dict(learn=0.5, retain=0.25, forget=2.0)
SIGNS = {WeightedSumLoss: 1, GradientAscentLoss: -1}


def phase(kind, **settings):
    config = dict(kind=kind, iters=1, bound='none', weights=WEIGHTS) | settings
    sizes = dict(learn=9, forget=9, retain=9)
    return SwapSchedule.from_config(dict(phases=[config]), sizes, 6).phases[0]


def scalars(kind, **values):
    values = dict(learn=1.0, forget=4.0, retain=3.0) | values
    return {role: torch.tensor(values[role], requires_grad=True) for role in KINDS[kind]}


def total_of(terms):
    return sum(value for key, value in terms.items() if 'loss' in key)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('objective', SIGNS)
def test_values_and_gradients(objective, kind):
    losses, sign = scalars(kind), dict.fromkeys(KINDS[kind], 1)
    if 'forget' in sign:
        sign['forget'] = SIGNS[objective]
    terms = objective()(losses, phase(kind))
    assert set(terms) == {f'loss_{role}' for role in KINDS[kind]}
    for role, value in losses.items():
        weighted = sign[role] * WEIGHTS[role] * value.item()
        assert terms[f'loss_{role}'].item() == pytest.approx(weighted)
    total_of(terms).backward()
    gradients = {role: value.grad.item() for role, value in losses.items()}
    assert gradients == {role: sign[role] * WEIGHTS[role] for role in KINDS[kind]}


@pytest.mark.parametrize('objective', SIGNS)
def test_sparse_term(objective):
    model = randomise_adapters(LoRAInjector().inject(build_host(vit_host())))
    loss = objective('matrix')
    loss.attach(model)
    terms = loss(scalars('forget'), phase('forget', weights=WEIGHTS | dict(sparsity=0.5)))
    norms = sum(p.detach().norm().item() for p in adapter_parameters(model).values())
    assert terms['loss_sparsity'].item() == pytest.approx(0.5 * norms, rel=1e-5)
    assert terms['sparsity'].item() == pytest.approx(norms, rel=1e-5)
    assert not terms['sparsity'].requires_grad


@pytest.mark.parametrize('value', [1e4, 1e30])
def test_nothing_ends_the_ascent(value):
    losses = scalars('forget', forget=value)
    total_of(GradientAscentLoss()(losses, phase('forget'))).backward()
    assert losses['forget'].grad.item() == -WEIGHTS['forget']


@pytest.mark.parametrize('value', [math.nan, math.inf])
@pytest.mark.parametrize('objective', SIGNS)
def test_a_loss_that_is_not_finite_spoils_the_total(objective, value):
    terms = objective()(scalars('forget', forget=value), phase('forget'))
    assert not total_of(terms).isfinite()


@pytest.mark.parametrize('objective', SIGNS)
def test_a_bound_that_nothing_asks_for_is_refused(objective, raises_config_error):
    sizes = dict(learn=4, forget=4, retain=4)
    phases = [dict(kind='learn', iters=1), dict(kind='forget', iters=1, bound=9.0)]
    with raises_config_error('swap.phases.1.bound', 9.0, objective.__name__, 'no bound', 'none'):
        objective().check(SwapSchedule.from_config(dict(phases=phases), sizes, 4))
    phases[1]['bound'] = 'none'
    objective().check(SwapSchedule.from_config(dict(phases=phases), sizes, 4))
