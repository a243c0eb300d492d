"""Staying with a teacher on retained data, leaving it on forget data."""

import copy

import pytest
import torch

from knowswap_mm.models import DistillationForgettingLoss
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.tiny_hosts import OLD, TOTAL, batch, build_swapper, randomise_adapters, vit_host

NAME = 'knowswap_mm.DistillationForgettingLoss'
WEIGHTS = dict(learn=0.5, retain=0.25, forget=2.0)


def schedule():
    """A learn and a forget phase without a bound."""
    phases = [dict(kind='learn', iters=2, weights=WEIGHTS)]
    phases.append(dict(kind='forget', iters=2, weights=WEIGHTS, bound='none'))
    return SwapSchedule.from_config(dict(phases=phases), dict(learn=30, forget=30, retain=30), 12)


def swapper_with(policy='all', **settings):
    head = dict(old_classes=OLD, policy=policy, new_rows_init='xavier')
    swapper = build_swapper(loss=dict(type=NAME, **settings), head=head)
    swapper.schedule = schedule()
    swapper.swapping_loss.check(swapper.schedule)
    return swapper


def terms_of(swapper, roles=('forget', 'retain'), phase=1):
    inputs, samples = batch(roles, phase)
    return swapper(inputs, samples, mode='loss')


def by_hand(teacher, student, temperature):
    """The divergence written out, sample by sample and class by class."""
    total = 0.0
    for t, s in zip(teacher.double(), student.double(), strict=True):
        p, q = ((x / temperature).exp() / (x / temperature).exp().sum() for x in (t, s))
        total += float((p * (p.log() - q.log())).sum())
    return temperature**2 * total / len(teacher)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 3.0])
def test_distance_by_hand(temperature):
    torch.manual_seed(0)
    teacher, student = torch.randn(4, 3), torch.randn(4, 3, requires_grad=True)
    loss = DistillationForgettingLoss(temperature)
    value = loss.distance(teacher, student)
    assert value.item() == pytest.approx(by_hand(teacher, student.detach(), temperature), rel=1e-5)
    value.backward()
    # d KL / d student = (softmax(s / T) - softmax(t / T)) / T, times T * T, over the mean.
    p, q = ((x / temperature).softmax(1) for x in (teacher, student.detach()))
    torch.testing.assert_close(student.grad, temperature * (q - p) / 4)


def test_only_marked_samples_count():
    torch.manual_seed(0)
    teacher, student = torch.randn(4, 3), torch.randn(4, 3)
    loss, rows = DistillationForgettingLoss(), torch.tensor([True, False, True, False])
    alone = loss.distance(teacher[rows], student[rows])
    assert loss.distance(teacher, student, rows).item() == pytest.approx(alone.item())
    assert loss.distance(teacher, student, torch.zeros(4, dtype=torch.bool)).item() == 0


def test_terms_and_gradients():
    loss = DistillationForgettingLoss(retain_distance=3.0)
    names = ('forget', 'retain', 'd_forget', 'd_retain')
    values = {name: torch.tensor(i + 1.0, requires_grad=True) for i, name in enumerate(names)}
    measured = {role: dict(distance=values[f'd_{role}']) for role in ('forget', 'retain')}
    losses = {role: values[role] for role in ('forget', 'retain')}
    terms = loss(losses, schedule().phases[1], measured)
    summed = {key: value.item() for key, value in terms.items() if 'loss' in key}
    assert summed == dict(loss_forget=-2 * 3, loss_retain=0.25 * 2, loss_retain_distance=0.75 * 4)
    assert terms['forget/distance'] == 3 and terms['retain/distance'] == 4
    sum(value for key, value in terms.items() if 'loss' in key).backward()
    assert values['forget'].grad is None  # the distance takes its place
    gradients = [values[name].grad.item() for name in names[1:]]
    assert gradients == [0.25, -2.0, 0.75]


def test_the_start_has_no_distance():
    terms = terms_of(swapper_with())
    for key in ('forget/distance', 'retain/distance', 'loss_forget', 'loss_retain_distance'):
        assert terms[key].item() == pytest.approx(0, abs=1e-6), key
    plain = build_swapper()
    plain.schedule = schedule()
    inputs, samples = batch(('forget', 'retain'), 1)
    raw = plain.host.loss(inputs['retain'], samples['retain'])['loss']
    assert terms['loss_retain'].item() == pytest.approx(0.25 * raw.item(), rel=1e-5)


def test_distance_of_a_changed_model():
    swapper = swapper_with(temperature=1.5)
    start = copy.deepcopy(swapper.host)
    randomise_adapters(swapper)
    with torch.no_grad():
        weight = swapper.host.head.layers.head.weight
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    terms = terms_of(swapper)
    inputs, _ = batch(('forget', 'retain'), 1)
    for role in ('forget', 'retain'):
        with torch.no_grad():
            teacher, student = (m(inputs[role], mode='tensor') for m in (start, swapper.host))
        wanted = by_hand(teacher[:, :OLD], student[:, :OLD], 1.5)
        assert wanted > 1e-3
        assert terms[f'{role}/distance'].item() == pytest.approx(wanted, rel=1e-3)
    (terms['loss_forget'] + terms['loss_retain_distance']).backward()
    assert all(p.grad is not None for p in swapper.adapters.values())


def test_the_teacher_does_not_know_learned_classes():
    swapper = randomise_adapters(swapper_with())
    inputs, samples = batch(('forget', 'retain'), 1)
    for sample in samples['retain'][:2]:
        sample.set_metainfo(dict(source='learn'))
    terms = swapper(inputs, samples, mode='loss')
    inputs['retain'], samples['retain'] = inputs['retain'][2:], samples['retain'][2:]
    alone = swapper(inputs, samples, mode='loss')
    assert terms['retain/distance'].item() == pytest.approx(alone['retain/distance'].item())
    assert terms['retain/raw'].item() != pytest.approx(alone['retain/raw'].item())


def test_learn_phases_have_no_teacher():
    swapper = swapper_with()
    terms = terms_of(swapper, ('learn', 'retain'), 0)
    assert {key for key in terms if 'loss' in key} == {'loss_learn', 'loss_retain'}
    assert not swapper.swapping_loss._teacher


@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
def test_the_teacher_leaves_no_trace(policy):
    swapper = swapper_with(policy)
    keys, trainable = set(swapper.state_dict()), [p.requires_grad for p in swapper.parameters()]
    first = terms_of(randomise_adapters(swapper))
    assert set(swapper.state_dict()) == keys
    assert [p.requires_grad for p in swapper.parameters()] == trainable
    again = swapper_with(policy)
    again.load_state_dict(swapper.state_dict())  # as a resumed run does
    second = terms_of(again)
    assert first['forget/distance'].item() == second['forget/distance'].item() > 0


def test_hosts_without_logits_are_refused(raises_config_error):
    headless = vit_host()
    swapper = build_swapper(headless, loss=dict(type=NAME))
    swapper.schedule = schedule()
    swapper.host.head.forward = lambda features: (features[-1], features[-1])
    with raises_config_error(
        'model.loss.type', 'DistillationForgettingLoss', 'ImageClassifier', f'(N, {TOTAL})'
    ):
        swapper.swapping_loss.measure(
            swapper, 'forget', *(part['forget'] for part in batch(['forget'], 1)),
            swapper.schedule.phases[1],
        )  # fmt: skip


@pytest.mark.parametrize(
    'settings', [dict(temperature=0), dict(temperature='2'), dict(retain_distance=-1)]
)
def test_bad_numbers(settings, raises_config_error):
    ((key, value),) = settings.items()
    with raises_config_error(f'model.loss.{key}', value, 'finite number'):
        DistillationForgettingLoss(**settings)
