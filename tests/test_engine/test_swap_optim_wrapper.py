"""SwapOptimWrapper: mmengine's OptimWrapper bit by bit in fp32, and bfloat16 without a scale."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, RUNNERS
from torch import nn

from knowswap_mm.engine import SwapOptimWrapper
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

_numbers = itertools.count()
CLIPS = [
    None,
    dict(max_norm=0.05),
    dict(max_norm=1e3, norm_type='inf'),
    dict(max_norm=0.1, norm_type=1, foreach=False),
    dict(type='value', clip_value=0.01),
]
BFLOAT16 = dict(type='knowswap_mm.SwapOptimWrapper', dtype='bfloat16')


def new_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3), nn.Linear(3, 1))
    model[2].requires_grad_(False)
    return model


def wrapper_of(model, kind=SwapOptimWrapper, clip_grad=None, optimizer=None, **settings):
    """A wrapper with a message hub of its own."""
    MessageHub.get_instance(f'optim_wrapper_{next(_numbers)}')
    groups = [dict(params=model[0].parameters()), dict(params=model[3].parameters(), lr=3e-2)]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, **(optimizer or {}))
    return kind(optimizer, clip_grad=copy.deepcopy(clip_grad), **settings)


def run(model, wrapper, steps, start=0):
    """Some steps; the loss of each."""
    losses = []
    wrapper.initialize_count_status(model, start, start + steps)
    for step in range(start, start + steps):
        inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
        with wrapper.optim_context(model):
            loss = model(inputs).square().mean()
        wrapper.update_params(loss.float())
        losses.append(loss.item())
    return losses


def norms_of(wrapper):
    history = wrapper.message_hub.log_scalars.get('train/grad_norm')
    return None if history is None else history.data[0].tolist()


def assert_same_state(left, right):
    """Two state dicts of an optimizer."""
    assert list(left) == list(right)
    assert repr(left['param_groups']) == repr(right['param_groups'])
    for key, state in right['state'].items():
        for name, value in state.items():
            assert torch.equal(left['state'][key][name], value)


@given(st.sampled_from(CLIPS), st.integers(1, 3), st.integers(1, 7), st.sampled_from([None, True]))
def test_equals_the_wrapper_of_mmengine(clip_grad, counts, steps, fused):
    found = []
    for kind in (SwapOptimWrapper, OptimWrapper):
        model = new_model()
        settings = dict(accumulative_counts=counts, optimizer=dict(fused=fused))
        wrapper = wrapper_of(model, kind, clip_grad, **settings)
        found.append((run(model, wrapper, steps), model, wrapper))
    (losses, model, wrapper), (wanted, other, theirs) = found
    assert losses == wanted
    assert_same_weights(model.state_dict(), other.state_dict())
    assert_same_state(wrapper.state_dict(), theirs.state_dict())
    assert norms_of(wrapper) == norms_of(theirs)
    if clip_grad and 'max_norm' in clip_grad:
        assert len(norms_of(wrapper)) == -(-steps // counts)


@pytest.mark.parametrize(
    'kinds', [(SwapOptimWrapper, OptimWrapper), (OptimWrapper, SwapOptimWrapper)]
)
def test_states_can_be_exchanged(kinds):
    model = new_model()
    run(model, wrapper_of(model, kinds[0]), 3)
    wrapper = wrapper_of(model, kinds[0])
    run(model, wrapper, 3)
    other = copy.deepcopy(model)
    theirs = wrapper_of(other, kinds[1])
    theirs.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    assert run(model, wrapper, 3, 3) == run(other, theirs, 3, 3)
    assert_same_weights(model.state_dict(), other.state_dict())


def test_loss_scale_of_an_amp_run_is_dropped():
    model = new_model()
    wrapper = wrapper_of(model)
    run(model, wrapper, 2)
    state = copy.deepcopy(wrapper.state_dict()) | dict(loss_scaler=dict(scale=65536.0))
    again = wrapper_of(model)
    again.load_state_dict(state)
    assert 'loss_scaler' in state, 'the state that was given is not changed'
    assert_same_state(again.state_dict(), wrapper.state_dict())


@pytest.mark.parametrize('ways', [(None, True), (True, None)])
def test_present_config_decides_how_the_optimizer_computes(ways):
    before, now = ways
    model = new_model()
    wrapper = wrapper_of(model, optimizer=dict(fused=before))
    run(model, wrapper, 3)
    other = copy.deepcopy(model)
    again = wrapper_of(other, optimizer=dict(fused=now))
    again.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    assert [group['fused'] for group in again.optimizer.param_groups] == [now, now]
    run(model, wrapper, 3, 3), run(other, again, 3, 3)
    # The same sums in another order: some units in the last place of a weight of size 1.
    assert_same_weights(other.state_dict(), model.state_dict(), tolerance=1e-5)


def test_state_of_other_groups_is_refused_by_torch():
    model = new_model()
    state = torch.optim.AdamW(model.parameters()).state_dict()
    with pytest.raises(ValueError, match='parameter groups'):
        wrapper_of(model).load_state_dict(state)


@pytest.mark.parametrize('dtype', ['bfloat16', torch.bfloat16])
def test_bfloat16_equals_a_loop_by_hand(dtype):
    model = new_model()
    wrapper = wrapper_of(model, dtype=dtype, clip_grad=dict(max_norm=0.5))
    other = new_model()
    theirs = wrapper_of(other, OptimWrapper, dict(max_norm=0.5))
    losses = run(model, wrapper, 4)
    theirs.initialize_count_status(other, 0, 4)
    for step, wanted in enumerate(losses):
        inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
        with torch.autocast('cpu', torch.bfloat16):
            loss = other(inputs).square().mean()
        theirs.update_params(loss.float())
        assert loss.item() == wanted
    assert_same_weights(model.state_dict(), other.state_dict())
    assert norms_of(wrapper) == norms_of(theirs)
    assert model[0].weight.dtype == torch.float32


def test_autocast_is_around_the_forward_pass_alone():
    model = new_model()
    for dtype, wanted in (('bfloat16', torch.bfloat16), (None, torch.float32)):
        with wrapper_of(model, dtype=dtype).optim_context(model):
            assert model(torch.ones(1, 5)).dtype == wanted
        assert not torch.is_autocast_enabled('cpu')


@pytest.mark.parametrize('dtype', ['float16', torch.float16])
def test_float16_is_for_another_wrapper(dtype, raises_config_error):
    with raises_config_error('optim_wrapper.dtype', dtype, 'loss scale', 'AmpOptimWrapper'):
        wrapper_of(new_model(), dtype=dtype)


@pytest.mark.parametrize('dtype', ['float32', 'bf16', 16])
def test_other_dtypes_are_refused(dtype, raises_config_error):
    with raises_config_error('optim_wrapper.dtype', dtype, 'bfloat16'):
        wrapper_of(new_model(), dtype=dtype)


def test_is_found_by_its_name():
    optimizer = torch.optim.SGD(new_model().parameters(), lr=1.0)
    wrapper = OPTIM_WRAPPERS.build(dict(BFLOAT16, optimizer=optimizer))
    assert type(wrapper) is SwapOptimWrapper


@pytest.mark.parametrize('wrapper', [dict(type='knowswap_mm.SwapOptimWrapper'), BFLOAT16])
@pytest.mark.parametrize('fused', [None, True])
def test_resumed_swap_equals_the_whole_one(wrapper, fused, picture_tree, host, tmp_path):
    def config(name):
        made = swap_config(
            picture_tree,
            tmp_path / name,
            [learn(iters=4), forget(iters=4, merge_learned=True)],
            host=host,
            dropout=0.1,
            default_hooks__checkpoint__interval=3,
        )
        made.optim_wrapper.update(wrapper, clip_grad=dict(max_norm=0.5))
        made.optim_wrapper.optimizer.fused = fused
        return made

    _, recorder = train(config('whole'))
    again = config('again')
    again.resume, again.load_from = True, str(tmp_path / 'whole' / 'iter_3.pth')
    _, rest = train(again)
    assert rest.column('loss') == recorder.column('loss')[3:]
    left, right = (weights_of(tmp_path / n / 'phase2_forget.pth') for n in ('whole', 'again'))
    assert_same_weights(left, right)


def test_step_counts_stay_on_the_host_when_a_run_is_resumed(
    picture_tree, host, tmp_path, monkeypatch
):
    """torch asks each count for its number in each step, unless the optimizer is fused."""
    changes = dict(host=host, default_hooks__checkpoint__interval=3)
    train(swap_config(picture_tree, tmp_path / 'whole', **changes))
    monkeypatch.setattr('knowswap_mm.engine.runner.get_device', lambda: 'cuda')
    config = swap_config(picture_tree, tmp_path / 'again', **changes)
    config.resume, config.load_from = True, str(tmp_path / 'whole' / 'iter_3.pth')
    runner, places = RUNNERS.build(config), []
    load = runner.load_checkpoint
    monkeypatch.setattr(
        runner,
        'load_checkpoint',
        lambda name, map_location: places.append(map_location) or load(name),
    )
    runner.train()
    assert places == ['cpu']
