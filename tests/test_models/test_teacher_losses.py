"""Objectives that imitate a teacher: targets, distances and damage, computed by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.models import (
    DecoupledDistillationLoss,
    TiltedReweightingLoss,
    UndoLoss,
    merged_host,
)
from knowswap_mm.models.losses.teacher import Teacher, divergence
from knowswap_mm.models.losses.tilted import similarity
from knowswap_mm.models.losses.undo import shrink_and_perturb
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.tiny_hosts import OLD, TOTAL, batch, build_swapper, randomise_adapters

WEIGHTS = dict(learn=0.5, retain=0.25, forget=2.0)
#: Of the tiny hosts' classes, 1 is forgotten and 3 has no role.
HIDDEN = torch.tensor([False, True, False, True, False, False, False, False])


def phases(*bounds):
    """A learn phase, and a forget phase a bound."""
    first = dict(kind='learn', iters=2, weights=WEIGHTS)
    rest = [dict(kind='forget', iters=2, weights=WEIGHTS, bound=bound) for bound in bounds]
    sizes = dict(learn=30, forget=30, retain=30)
    return SwapSchedule.from_config(dict(phases=[first, *rest]), sizes, 12)


def taught_swapper(name, known=TOTAL, bounds=('none',), **settings):
    """A swapper whose teacher is itself before its adapters were changed."""
    swapper = build_swapper(loss=dict(type=f'knowswap_mm.{name}', **settings)).eval()
    with torch.no_grad():  # the host begins with rows of zeros
        rows = swapper.host.head.layers.head.weight
        rows.copy_(torch.randn(rows.shape, generator=torch.Generator().manual_seed(3)))
    swapper.schedule = phases(*bounds)
    swapper.swapping_loss.check(swapper.schedule)
    teacher = Teacher(merged_host(swapper), known, HIDDEN[:known], OLD)
    swapper.swapping_loss.teach(teacher, swapper)
    return swapper


def seen(labels):
    """What a reader of samples tells of labels."""
    zeros = torch.zeros(len(labels))
    numbers, rows = zeros.long(), zeros[:, None]
    return SampleLosses(zeros, numbers, torch.tensor(labels), numbers, rows, logits=rows)


def test_masked_target_by_hand():
    logits = torch.tensor([[1.0, 4.0, 2.0], [0.0, 0.0, 0.0]]).log()
    hidden = torch.tensor([False, True, False])
    found = DecoupledDistillationLoss().target(logits.log_softmax(1), hidden)
    torch.testing.assert_close(found[0], torch.tensor([1 / 3, 0.0, 2 / 3]))
    # At temperature 2 the probabilities are as their square roots.
    found = DecoupledDistillationLoss(temperature=2.0).target(logits[:1], hidden)[0]
    root = math.sqrt(2)
    torch.testing.assert_close(found, torch.tensor([1 / (1 + root), 0.0, root / (1 + root)]))


def test_divergence_by_hand():
    target = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    student = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], requires_grad=True)
    each = [0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.25), math.log(1 / 0.5)]
    value = divergence(target, student.log())
    assert value.item() == pytest.approx(sum(each) / 2)
    value.backward()
    assert torch.isfinite(student.grad).all()  # a probability of zero has a logarithm
    one = divergence(target, student.log(), torch.tensor([False, True]))
    assert one.item() == pytest.approx(each[1])
    assert divergence(target, student.log(), torch.tensor([False, False])).item() == 0


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_forgetting_and_the_rest_of_the_answer_are_apart(seed, forgotten):
    """KL(masked || student) = -log(1 - student(forgotten)) + KL(masked || student, masked)."""
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(3, 6, generator=generator, dtype=torch.double) for _ in '12')
    hidden = torch.arange(6) < forgotten
    target = DecoupledDistillationLoss().target(teacher, hidden)
    whole = divergence(target, student.log_softmax(1))
    forget = -(1 - student.softmax(1)[:, hidden].sum(1)).log().mean()
    rest = divergence(target[:, ~hidden], student[:, ~hidden].log_softmax(1))
    assert whole.item() == pytest.approx((forget + rest).item(), rel=1e-9)


def test_similarity_by_hand():
    # The mean is (1, 1); the centred rows are (1, 0), (-1, 0) and (0, 2), (0, -2).
    rows = torch.tensor([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0], [1.0, -1.0]])
    wanted = torch.tensor([[1.0, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]])
    torch.testing.assert_close(similarity(rows), wanted)


def test_tilted_target_by_hand():
    loss = TiltedReweightingLoss(tilt=math.log(3))
    loss._similarity = (torch.tensor([[1.0, 0.0, 1.0, -1.0], *[[0.0] * 4] * 3]),)
    logits = torch.tensor([[5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, math.log(2)]])
    hidden = torch.tensor([True, False, False, False])
    found = loss.target(logits, hidden, seen([0, 1]))
    # The first: 1, 1 and 1 times 1, 3 and 1/3. The second has a class that is like none.
    torch.testing.assert_close(found[0], torch.tensor([0.0, 3 / 13, 9 / 13, 1 / 13]))
    torch.testing.assert_close(found[1], torch.tensor([0.0, 0.25, 0.25, 0.5]))


@given(st.integers(0, 10_000), st.floats(0, 20))
def test_a_tilt_raises_the_expected_similarity(seed, tilt):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 5, generator=generator)
    alike = similarity(torch.randn(5, 4, generator=generator))
    hidden = torch.tensor([True, False, False, False, False])
    expected = []
    for value in (0.0, tilt, tilt + 1):
        loss = TiltedReweightingLoss(tilt=value)
        loss._similarity = (alike,)
        found = loss.target(logits, hidden, seen([0]))[0]
        assert found.sum().item() == pytest.approx(1, abs=1e-5) and found[0] == 0
        expected.append((found * alike[0]).sum().item())
    assert expected == sorted(expected) or max(expected) - min(expected) < 1e-5
    plain = DecoupledDistillationLoss().target(logits, hidden)[0]
    assert expected[0] == pytest.approx((plain * alike[0]).sum().item(), abs=1e-6)


@pytest.mark.parametrize('name', ['DecoupledDistillationLoss', 'TiltedReweightingLoss'])
def test_terms_of_a_model(name):
    swapper = taught_swapper(name, retain_distance=3.0)
    inputs, samples = batch(('forget', 'retain'), 1)
    start = swapper(inputs, samples, mode='loss')
    assert start['retain/distance'].item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        before = swapper.host(inputs['forget'], mode='tensor')
    randomise_adapters(swapper)
    terms = swapper(inputs, samples, mode='loss')
    with torch.no_grad():
        after = swapper.host(inputs['forget'], mode='tensor')
    if name.startswith('Tilted'):
        rows = merged_host(swapper).head.layers.head.weight  # adapters leave them alone
        labels = torch.cat([sample.gt_label for sample in samples['forget']])
        before = before + swapper.swapping_loss.tilt * similarity(rows)[labels]
    target = before.masked_fill(HIDDEN, -math.inf).softmax(1)
    pairs = zip(target.flatten(), after.log_softmax(1).flatten(), strict=True)
    wanted = sum(float(p * (p.log() - q)) for p, q in pairs if p > 0) / len(after)
    assert terms['forget/distance'].item() == pytest.approx(wanted, rel=1e-4)
    assert terms['loss_forget'].item() == pytest.approx(2 * wanted, rel=1e-4)
    distance = terms['retain/distance'].item()
    assert distance > 1e-4
    assert terms['loss_retain_distance'].item() == pytest.approx(0.25 * 3 * distance, rel=1e-5)
    assert terms['loss_retain'].item() == pytest.approx(0.25 * terms['retain/raw'].item())
    sum(value for key, value in terms.items() if 'loss' in key).backward()
    assert all(p.grad is not None for p in swapper.adapters.values())
    assert all(p.grad is None for p in swapper.swapping_loss.teacher.host.parameters())


def test_a_teacher_that_never_learned_says_nothing_of_learned_classes():
    swapper = randomise_adapters(taught_swapper('DecoupledDistillationLoss', known=OLD))
    inputs, samples = batch(('forget', 'retain'), 1)
    for sample in samples['retain'][:2]:
        sample.set_metainfo(dict(source='learn'))
    terms = swapper(inputs, samples, mode='loss')
    inputs['retain'], samples['retain'] = inputs['retain'][2:], samples['retain'][2:]
    alone = swapper(inputs, samples, mode='loss')
    assert terms['retain/distance'].item() == pytest.approx(alone['retain/distance'].item())
    with torch.no_grad():
        rows = swapper.host.head.layers.head.weight
        rows[OLD:] += 5 * torch.randn(rows[OLD:].shape)
    again = swapper(inputs, samples, mode='loss')
    for role in ('forget', 'retain'):
        key = f'{role}/distance'
        assert again[key].item() == pytest.approx(alone[key].item(), rel=1e-5)


def test_learn_phases_have_no_distance_and_a_missing_hook_is_told(raises_config_error):
    swapper = taught_swapper('DecoupledDistillationLoss')
    swapper.swapping_loss.teach(None, swapper)
    inputs, samples = batch(('learn', 'retain'), 0)
    terms = swapper(inputs, samples, mode='loss')
    assert {key for key in terms if 'loss' in key} == {'loss_learn', 'loss_retain'}
    inputs, samples = batch(('forget', 'retain'), 1)
    with raises_config_error('custom_hooks', None, 'DecoupledDistillationLoss', 'TeacherHook'):
        swapper(inputs, samples, mode='loss')


def test_the_teacher_is_no_part_of_the_model():
    swapper, plain = taught_swapper('TiltedReweightingLoss'), build_swapper()
    assert set(swapper.state_dict()) == set(plain.state_dict())
    assert len(list(swapper.parameters())) == len(list(plain.parameters()))


def test_undo_forgets_within_a_bound_and_then_distils():
    swapper = taught_swapper('UndoLoss', bounds=(105.0, 'none'), temperature=2.0)
    randomise_adapters(swapper)
    inputs, samples = batch(('forget', 'retain'), 1)
    terms = swapper(inputs, samples, mode='loss')
    wanted = 2.0 * (105 - terms['forget/raw'].item())
    assert terms['loss_forget'].item() == pytest.approx(wanted, rel=1e-5)
    inputs, samples = batch(('forget', 'retain'), 2)
    terms = swapper(inputs, samples, mode='loss')
    for role in ('forget', 'retain'):
        with torch.no_grad():
            given, found = (
                (host(inputs[role], mode='tensor') / 2).softmax(1)
                for host in (swapper.swapping_loss.teacher.host, swapper.host)
            )
        wanted = 4 * float((given * (given / found).log()).sum()) / len(given)
        assert terms[f'{role}/distance'].item() == pytest.approx(wanted, rel=1e-3)
        term = terms[f'loss_{role}'].item()
        assert term == pytest.approx(WEIGHTS[role] * wanted, rel=1e-3)


@pytest.mark.parametrize(
    ('bounds', 'key', 'value'),
    [
        ((5.0,), 'swap.phases', ['learn', 'forget']),
        (('none', 5.0), 'swap.phases.1.bound', 'none'),
    ],
)
def test_undo_needs_a_model_that_forgot(bounds, key, value, raises_config_error):
    with raises_config_error(key, value, 'distilled'):
        UndoLoss().check(phases(*bounds))


def test_distillation_has_no_bound(raises_config_error):
    with raises_config_error('swap.phases.1.bound', 5.0, 'DecoupledDistillationLoss has no bound'):
        DecoupledDistillationLoss().check(phases(5.0))


def test_damage_by_hand():
    generator = torch.Generator().manual_seed(1)
    start = {
        'b': torch.randn(4, 3, generator=generator),
        'a': torch.randn(2, 5, 1, 2, generator=generator),
        'c': torch.randn(7, generator=generator),
    }
    damaged = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    shrink_and_perturb(damaged, 0.25, 0.5, seed=9)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(9)
    for name in 'ab':  # by name, whatever the order
        value = start[name]
        noise = torch.nn.init.xavier_normal_(torch.empty(value.shape))
        torch.testing.assert_close(damaged[name].data, 0.75 * value + 0.125 * noise)
    assert torch.equal(damaged['c'].data, start['c'])


@pytest.mark.parametrize(
    ('kind', 'key', 'value'),
    [
        (DecoupledDistillationLoss, 'temperature', 0),
        (DecoupledDistillationLoss, 'retain_distance', -1),
        (TiltedReweightingLoss, 'tilt', math.inf),
        (UndoLoss, 'temperature', '2'),
    ],
)
def test_bad_numbers(kind, key, value, raises_config_error):
    with raises_config_error(f'model.loss.{key}', value, 'finite number'):
        kind(**{key: value})
