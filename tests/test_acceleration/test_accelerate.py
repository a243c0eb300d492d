import pytest

from knowswap_mm.acceleration import DEFAULTS, accelerate
from knowswap_mm.registry import ACCELERATIONS
from tests.helpers.tiny_hosts import build_swapper


@pytest.fixture
def host():
    return build_swapper(accelerations=[]).host


def test_names_and_configs_are_applied_in_their_order(host):
    blocks = dict(type='knowswap_mm.CompiledBlocks', backend='eager')
    changed = accelerate(host, ['LeanLoRA', blocks])
    assert changed == dict(LeanLoRA=4, CompiledBlocks=2)
    assert list(changed) == ['LeanLoRA', 'CompiledBlocks']


def test_nothing_is_chosen_by_an_empty_list(host):
    assert accelerate(host, []) == {}
    assert set(accelerate(host)) == set(DEFAULTS) <= set(ACCELERATIONS.module_dict)


@pytest.mark.parametrize('entry', ['Faster', dict(type='knowswap_mm.Faster'), dict(lean=True)])
def test_an_unknown_one_is_an_error(host, entry, raises_config_error):
    with raises_config_error('model.accelerations', entry, 'no acceleration'):
        accelerate(host, [entry])


@pytest.mark.parametrize('value', ['LeanLoRA', dict(type='knowswap_mm.LeanLoRA')])
def test_it_must_be_a_list(host, value, raises_config_error):
    with raises_config_error('model.accelerations', value, 'no list'):
        accelerate(host, value)


def test_an_unknown_argument_is_an_error(host, raises_config_error):
    entry = dict(type='knowswap_mm.LeanLoRA', speed=2)
    with raises_config_error('model.accelerations.LeanLoRA.speed', 2, 'unknown key'):
        accelerate(host, [entry])
