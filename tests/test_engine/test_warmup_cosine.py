import math

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from knowswap_mm.engine.optim import WarmupCosineLR


def optimizer_of(rate=2.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates_of(length, optimizer=None, **settings):
    optimizer = optimizer or optimizer_of()
    config = dict(type='knowswap_mm.WarmupCosineLR', end=length, **settings)
    scheduler, rates = PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=optimizer)), []
    for _ in range(length):
        rates.append(optimizer.param_groups[0]['lr'] / 2)
        optimizer.step()
        scheduler.step()
    return rates


def test_up_and_along_a_cosine():
    rates = rates_of(200)
    assert rates[:10] == pytest.approx([i / 11 for i in range(1, 11)])
    assert rates[10] == 1 and rates[-1] == pytest.approx(0.01)
    middle = 10 + 189 / 3  # a third of the way down
    expected = 0.01 + 0.99 * (1 + math.cos(math.pi / 3)) / 2
    assert rates[int(middle)] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('length', range(1, 30))
def test_of_any_length(length):
    rates = rates_of(length)
    top = rates.index(max(rates))
    assert top <= max(length // 2, 5) and rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True) and max(rates) == 1
    assert length < 3 or rates[-1] == pytest.approx(0.01)


def test_all_of_it_can_be_chosen():
    assert rates_of(3, warmup=0, min_warmup=0, end_factor=0.5) == pytest.approx([1, 0.75, 0.5])


def test_it_goes_on_where_it_was():
    whole, optimizer = rates_of(20), optimizer_of()
    first = WarmupCosineLR(optimizer, end=20)
    for _ in range(8):
        optimizer.step()
        first.step()
    second = WarmupCosineLR(optimizer, end=20)
    second.load_state_dict(first.state_dict())
    optimizer.step()
    second.step()
    assert optimizer.param_groups[0]['lr'] / 2 == pytest.approx(whole[9])
