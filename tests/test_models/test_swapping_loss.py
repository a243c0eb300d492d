import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters
from knowswap_mm.models import SwappingLoss
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.tiny_hosts import build_host, randomise_adapters, swap_schedule, vit_host

#: The official objectives: weights by phase (learn, retain, forget, alpha of S) and the bound.
OFFICIAL = {
    'classification': ((1.0, 0.2, 0.005), (1.0, 0.2, 0.005), 105.0),
    'detection': ((0.9, 1.0, 0.01), (1.0, 0.2, 0.01), 15.0),
    'segmentation': ((0.9, 1.0, 0.01), (1.0, 0.2, 0.01), 115.0),
}

KINDS = ('learn', 'forget', 'joint', 'expand')


def phase(kind, **settings):
    config = dict(kind=kind, iters=1) | settings
    if kind in ('forget', 'joint'):
        config.setdefault('bound', 10.0)
    sizes = dict(learn=9, forget=9, retain=9)
    return SwapSchedule.from_config(dict(phases=[config]), sizes, 6).phases[0]


def scalar(value):
    return torch.tensor(value, requires_grad=True)


@pytest.fixture
def model():
    return randomise_adapters(LoRAInjector().inject(build_host(vit_host())))


@pytest.fixture
def loss(model):
    term = SwappingLoss()
    term.attach(model)
    return term


def sparsity_by_hand(model):
    """Two blocks; the root of the sum of squares of the four matrices of each."""
    total = 0.0
    for block in (0, 1):
        squares = sum(
            parameter.detach().double().square().sum()
            for name, parameter in adapter_parameters(model).items()
            if f'layers.{block}.ffn' in name
        )
        total += squares.sqrt().item()
    return total


def total_of(terms):
    return sum(value for key, value in terms.items() if 'loss' in key)


@pytest.mark.parametrize('task', OFFICIAL)
def test_official_learning_stage(task, loss, model):
    (w_learn, w_retain, alpha), _, _ = OFFICIAL[task]
    weights = dict(learn=w_learn, retain=w_retain, sparsity=alpha)
    learn, retain = scalar(2.5), scalar(0.7)
    terms = loss(dict(learn=learn, retain=retain), phase('learn', weights=weights))
    sparsity = sparsity_by_hand(model)
    assert set(terms) == {'loss_learn', 'loss_retain', 'loss_sparsity', 'sparsity'}
    assert terms['loss_learn'].item() == pytest.approx(w_learn * 2.5, abs=1e-6)
    assert terms['loss_retain'].item() == pytest.approx(w_retain * 0.7, abs=1e-6)
    assert terms['loss_sparsity'].item() == pytest.approx(alpha * sparsity, rel=1e-6)
    assert terms['sparsity'].item() == pytest.approx(sparsity, rel=1e-6)
    by_hand = w_learn * 2.5 + w_retain * 0.7 + alpha * sparsity
    assert total_of(terms).item() == pytest.approx(by_hand, rel=1e-6)
    total_of(terms).backward()
    assert learn.grad.item() == pytest.approx(w_learn)
    assert retain.grad.item() == pytest.approx(w_retain)


@pytest.mark.parametrize('task', OFFICIAL)
@pytest.mark.parametrize('share', [0.05, 0.999])
def test_official_forgetting_stage_below_the_bound(task, share, loss, model):
    _, (w_retain, w_forget, alpha), bound = OFFICIAL[task]
    weights = dict(retain=w_retain, forget=w_forget, sparsity=alpha)
    forget, retain = scalar(share * bound), scalar(0.7)
    terms = loss(dict(forget=forget, retain=retain), phase('forget', weights=weights, bound=bound))
    hinge = w_forget * (bound - share * bound)
    assert terms['loss_forget'].item() == pytest.approx(hinge, rel=1e-6, abs=1e-5)
    assert terms['loss_retain'].item() == pytest.approx(w_retain * 0.7, abs=1e-6)
    by_hand = hinge + w_retain * 0.7 + alpha * sparsity_by_hand(model)
    assert total_of(terms).item() == pytest.approx(by_hand, rel=1e-6, abs=1e-5)
    assert terms['forget/bound_hit'].item() == 0
    assert set(terms) == {
        'loss_forget',
        'loss_retain',
        'loss_sparsity',
        'sparsity',
        'forget/bound_hit',
    }
    total_of(terms).backward()
    assert forget.grad.item() == pytest.approx(-w_forget)
    assert retain.grad.item() == pytest.approx(w_retain)


@pytest.mark.parametrize('value', [10.0, 10.5, 1e30])
def test_the_forget_term_ends_at_the_bound(value, loss):
    forget = scalar(value)
    terms = loss(dict(forget=forget, retain=scalar(1.0)), phase('forget', bound=10.0))
    assert terms['loss_forget'].item() == 0
    assert terms['forget/bound_hit'].item() == 1
    total_of(terms).backward()
    assert forget.grad.item() == 0


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('kind', ['forget', 'joint'])
def test_a_forget_loss_that_is_not_finite_spoils_the_total(value, kind, loss):
    losses = dict(forget=scalar(value), retain=scalar(1.0), learn=scalar(1.0))
    if kind == 'forget':
        del losses['learn']
    terms = loss(losses, phase(kind))
    assert terms['loss_forget'].isnan()
    assert total_of(terms).isnan()


def test_all_processes_decide_on_the_mean(loss, monkeypatch):
    module = 'knowswap_mm.models.losses.swapping'

    def all_reduce(tensor, op):
        assert op == 'mean'
        tensor.copy_((tensor + 14.0) / 2)  # the other process has 14

    monkeypatch.setattr(f'{module}.get_world_size', lambda: 2)
    monkeypatch.setattr(f'{module}.all_reduce', all_reduce)
    for value, hit in ((5.0, 0), (7.0, 1)):  # means of 9.5 and 10.5
        forget = scalar(value)
        terms = loss(dict(forget=forget, retain=scalar(1.0)), phase('forget', bound=10.0))
        assert terms['forget/bound_hit'].item() == hit
        assert terms['loss_forget'].item() == (1 - hit) * (10 - value)
        assert forget.item() == value, 'the loss itself is not reduced'


@given(
    st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 9.0, 10.0, 11.0, 3e38]),
    st.sampled_from([0.1, 10.0, 105.0]),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_hinge_is_the_clamped_distance_to_the_bound(value, bound, dtype):
    forget = torch.tensor(value, dtype=dtype, requires_grad=True)
    reference = torch.tensor(value, dtype=dtype, requires_grad=True)
    terms = SwappingLoss()(dict(forget=forget), phase('forget', bound=bound))
    below = reference.detach() < bound
    wanted = torch.where(below, bound - reference, torch.zeros_like(reference))
    assert terms['loss_forget'].dtype == dtype
    assert terms['loss_forget'].item() == wanted.item()
    terms['loss_forget'].backward(), wanted.backward()
    assert forget.grad.item() == reference.grad.item()
    assert terms['forget/bound_hit'].item() == float(not below)


def test_joint_phase(loss, model):
    weights = dict(learn=0.5, retain=0.25, forget=2.0, sparsity=0.1)
    losses = dict(learn=scalar(1.0), forget=scalar(4.0), retain=scalar(2.0))
    terms = loss(losses, phase('joint', weights=weights, bound=10.0))
    by_hand = 0.5 * 1 + 0.25 * 2 + 2 * (10 - 4) + 0.1 * sparsity_by_hand(model)
    assert total_of(terms).item() == pytest.approx(by_hand, rel=1e-6)
    total_of(terms).backward()
    gradients = {role: value.grad.item() for role, value in losses.items()}
    assert gradients == dict(learn=0.5, forget=-2.0, retain=0.25)


def test_expand_phase(loss):
    terms = loss(dict(learn=scalar(3.0), retain=scalar(2.0)), phase('expand'))
    assert set(terms) == {'loss_learn', 'loss_retain'}
    assert total_of(terms).item() == 5


@pytest.mark.parametrize('index', range(4))
def test_only_terms_to_be_summed_have_loss_in_their_key(index, loss):
    chosen = swap_schedule().phases[index]
    terms = loss({role: scalar(1.5) for role in chosen.roles}, chosen)
    for key, value in terms.items():
        assert value.ndim == 0
        assert value.requires_grad == ('loss' in key), key


def test_no_sparse_term_without_its_weight(loss):
    terms = loss(dict(learn=scalar(1.0), retain=scalar(1.0)), phase('learn'))
    assert 'sparsity' not in terms and 'loss_sparsity' not in terms


def test_groups_follow_the_arguments(model):
    by_matrix = SwappingLoss('matrix', [r'layers\.1\.ffn'])
    by_matrix.attach(model)
    assert len(by_matrix.sparsity.groups) == 4
    with pytest.raises(ConfigError, match=r'model\.loss\.group_by'):
        SwappingLoss('layer').attach(model)
    with pytest.raises(ConfigError, match=r'model\.loss\.group_exclude'):
        SwappingLoss(group_exclude='decoder').attach(model)


def test_needs_a_bound(raises_config_error):
    sizes = dict(learn=4, forget=4, retain=4)
    phases = [dict(kind='learn', iters=1, bound='none'), dict(kind='forget', iters=1, bound='none')]
    with raises_config_error('swap.phases.1.bound', 'none', 'finite bound > 0'):
        SwappingLoss().check(SwapSchedule.from_config(dict(phases=phases), sizes, 4))
    phases[1]['bound'] = 9
    SwappingLoss().check(SwapSchedule.from_config(dict(phases=phases), sizes, 4))


def samples(nats):
    """Samples of these nats, with graph."""
    zeros = torch.zeros(len(nats), dtype=torch.long)
    features = torch.zeros(len(nats), 2)
    return SampleLosses(nats, zeros, zeros, zeros, features, features)


def by_sample(nats, forget):
    """Terms of a forget phase with bound 10 and weight 0.5."""
    loss, chosen = SwappingLoss(hinge='sample'), phase('forget', weights=dict(forget=0.5))
    measured = loss.measure(None, 'forget', None, [], chosen, found=samples(nats))
    losses = dict(forget=forget, retain=scalar(1.0))
    return loss(losses, chosen, dict(forget=measured, retain={}))


def test_hinge_by_sample(monkeypatch):
    module = 'knowswap_mm.models.losses.swapping'
    monkeypatch.setattr(f'{module}.get_world_size', lambda: 2)
    monkeypatch.setattr(f'{module}.all_reduce', None)  # processes need not agree
    nats, forget = torch.tensor([1.0, 12.0, 4.0, 10.0], requires_grad=True), scalar(3.0)
    terms = by_sample(nats, forget)
    assert terms['loss_forget'].item() == pytest.approx(0.5 * (9 + 0 + 6 + 0) / 4)
    assert terms['forget/bound_hit'].item() == 0.5
    total_of(terms).backward()
    assert nats.grad.tolist() == [-0.125, 0, -0.125, 0]
    assert forget.grad.item() == 0  # only logged, but all that it hangs on gets a gradient


def test_hinge_by_sample_of_a_batch_without_any():
    nats, forget = torch.zeros(0, requires_grad=True), scalar(3.0)
    terms = by_sample(nats, forget)
    assert terms['loss_forget'].item() == 0 and terms['forget/bound_hit'].item() == 0
    total_of(terms).backward()
    assert forget.grad.item() == 0


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_spoil_the_total(value):
    nats = torch.tensor([1.0, value, 12.0], requires_grad=True)
    assert total_of(by_sample(nats, scalar(3.0))).isnan()
    assert total_of(by_sample(torch.ones(2), scalar(value))).isnan()


def test_only_forget_data_are_asked_for_by_sample():
    wanted = {kind: SwappingLoss(hinge='sample').wants(phase(kind)) for kind in KINDS}
    assert wanted == dict(learn=(), forget=('forget',), joint=('forget',), expand=())
    assert not any(SwappingLoss().wants(phase(kind)) for kind in KINDS)


def test_hinge_by_sample_needs_a_bound_and_a_known_name(raises_config_error):
    sizes = dict(learn=4, forget=4, retain=4)
    config = dict(phases=[dict(kind='forget', iters=1, bound='none')])
    with raises_config_error('swap.phases.0.bound', 'none', 'finite bound > 0'):
        SwappingLoss(hinge='sample').check(SwapSchedule.from_config(config, sizes, 4))
    with raises_config_error('model.loss.hinge', 'batch', "'mean', 'sample'"):
        SwappingLoss(hinge='batch')
