"""Deep forgetting on tiny hosts of each kind: its terms, its gradients, what it leaves alone."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, normalize, pad

from knowswap_mm.compat import has_hooks
from knowswap_mm.models import FeatureMatchingLoss, WeightedSumLoss
from knowswap_mm.models.deep_forgetting.class_means import ClassMeans
from knowswap_mm.models.deep_forgetting.distances import SHARPNESS, discrepancy, mixture, surest
from knowswap_mm.models.losses.feature_matching import UNKNOWN, places, stack
from tests.helpers.sample_hosts import batch_for, build
from tests.helpers.sync_counter import SyncCounter
from tests.helpers.tiny_hosts import snapshot

HOSTS = ['vit', 'upernet', 'dino', 'mask2former']


def ready(name, forgotten=None, **settings):
    """A swapper with the objective, in a forget phase without a bound, and a batch for it."""
    loss = dict(type='knowswap_mm.FeatureMatchingLoss') | settings
    swapper = build(name, head=dict(old_classes=4, policy='all'))
    swapper.swapping_loss = FeatureMatchingLoss(**{k: v for k, v in loss.items() if k != 'type'})
    swapper.swapping_loss.attach(swapper.host)
    object.__setattr__(swapper.schedule.phases[0], 'bound', float('inf'))
    data = batch_for(name, swapper)
    if forgotten is None:
        labels = swapper.sample_losses(data[0]['forget'], data[1]['forget']).labels
        forgotten = sorted(set(labels.tolist()))
    swapper.swapping_loss.forgotten = tuple(forgotten)
    return swapper, data


def labelled(data):
    """The batch of a classifier in which 1 and 3 are forgotten, and 0 and 2 retained."""
    for role, labels in dict(forget=(1, 3, 3, 1), retain=(0, 2, 2, 2)).items():
        for sample, label in zip(data[1][role], labels, strict=True):
            sample.set_gt_label(label)
    return data


def terms_of(swapper, data):
    inputs, samples = data
    torch.manual_seed(0)
    return swapper(dict(inputs), copy.deepcopy(samples), mode='loss')


@pytest.mark.parametrize('name', HOSTS)
def test_a_step_has_finite_terms_and_gradients_and_leaves_nothing(name):
    swapper, data = ready(name)
    swapper.check(swapper.schedule)
    before = snapshot(swapper)
    terms = terms_of(swapper, data)
    assert {'loss_forget', 'loss_forget_features', 'loss_retain', 'loss_retain_answers'} <= {*terms}
    assert all(torch.as_tensor(value).isfinite().all() for value in terms.values())
    swapper.parse_losses(terms)[0].backward()
    trained = {n: p for n, p in swapper.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.values())
    assert not any(map(has_hooks, swapper.modules()))
    after = snapshot(swapper)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize('name', HOSTS)
def test_the_features_of_forgotten_samples_move(name):
    """The matching alone has a gradient for the adapters."""
    swapper, data = ready(name)
    terms_of(swapper, data)['loss_forget_features'].backward()
    gradients = [p.grad for n, p in swapper.named_parameters() if '.lora_B.' in n]
    assert any(each is not None and each.any() for each in gradients)


def k(left, right):
    return sum(torch.exp(-g / 2 * torch.cdist(left, right) ** 2) for g in SHARPNESS)


def test_terms_of_a_classifier_by_hand():
    swapper, data = ready('vit', forgotten=(1, 3), strength=4.0, keep=0.5)
    swapper.eval()  # nothing is dropped: the student of the first step is the teacher
    inputs, samples = labelled(data)
    terms = terms_of(swapper, data)
    assert float(terms['retain/answers']) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        forget = swapper.sample_losses(inputs['forget'], samples['forget'], 4)
        retain = swapper.sample_losses(inputs['retain'], samples['retain'], 4)
    pairs = list(
        zip((*forget.depth, forget.features), (*retain.depth, retain.features), strict=True)
    )
    pairs = [tuple(normalize(each, dim=1) for each in pair) for pair in pairs]
    # Of the kept classes 0 and 2 were seen; the nearer mean has a sample's vote at each place.
    nearest = torch.zeros_like(forget.logits)
    for x, q in pairs:
        means = {c: normalize(q[retain.labels == c].mean(0), dim=0) for c in (0, 2)}
        for row, each in enumerate(x):
            nearest[row, max(means, key=lambda c: float(each @ means[c]))] += 1 / len(pairs)
    pi = {c: nearest[forget.labels == c].mean(0) for c in (1, 3)}
    target = torch.stack(
        [(n + pi[int(c)]) / 2 for n, c in zip(nearest, forget.labels, strict=True)]
    )
    expected = kl_div(forget.logits.log_softmax(1), target, reduction='batchmean')
    assert float(terms['forget/answers']) == pytest.approx(float(expected), abs=1e-3)
    distances = []
    for x, q in pairs:
        for label in (1, 3):
            own = x[forget.labels == label]
            # Retained samples are pushed before and after; each class counts by its share.
            counts = retain.labels.bincount(minlength=len(pi[label]))
            w = ((pi[label] + 1e-6) / counts.clamp(min=1))[retain.labels]
            w = w / w.sum()
            n = len(own)  # no sample is compared with itself, for which the kernel is 3
            within = (k(own, own).sum() - 3 * n) / max(n * (n - 1), 1)
            distances.append(float(within - 2 * (k(own, q).mean(0) * w).sum()))
    mean = sum(distances) / len(distances)
    assert float(terms['forget/features']) == pytest.approx(mean, rel=1e-3, abs=1e-4)
    weight = swapper.schedule.phases[0].weights['forget']
    value = weight * 4.0 * float(terms['forget/features'])
    assert float(terms['loss_forget_features'].detach()) == pytest.approx(value, rel=1e-5)
    ce = cross_entropy(retain.logits, retain.labels)
    assert float(terms['loss_retain'].detach()) == pytest.approx(float(ce), rel=1e-4)


def test_training_empties_answers_and_features_and_keeps_the_rest():
    swapper, data = ready('vit', forgotten=(1, 3), strength=2.0)
    swapper.eval()
    inputs, samples = labelled(data)

    def nats(role):
        with torch.no_grad():
            return float(swapper.sample_losses(inputs[role], samples[role]).nats.mean())

    before, first = {role: nats(role) for role in inputs}, None
    optimizer = torch.optim.AdamW([p for p in swapper.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(30):
        terms = terms_of(swapper, data)
        last = float(terms['forget/features'])
        first = last if first is None else first
        optimizer.zero_grad()
        swapper.parse_losses(terms)[0].backward()
        optimizer.step()
    assert last < first - 0.1
    assert nats('forget') > before['forget'] and nats('retain') < before['retain']


@pytest.mark.parametrize('name', ['vit', 'dino'])
def test_other_phases_are_a_plain_sum(name):
    """Bit by bit, and nothing is asked for."""
    swapper, (inputs, samples) = ready(name)
    only = dict(retain=inputs['retain']), dict(retain=samples['retain'])
    phase = swapper.schedule.phases[0]
    object.__setattr__(phase, 'split', dict(retain=2))
    found = terms_of(swapper, only)
    assert swapper.swapping_loss.teacher is None and swapper.swapping_loss.memory is None
    swapper.swapping_loss = WeightedSumLoss()
    wanted = terms_of(swapper, only)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize('name', ['dino', 'mask2former', 'upernet'])
def test_a_batch_without_an_object_costs_nothing(name):
    swapper, _ = ready(name)
    empty = batch_for(name, swapper, (0, 0, 2, 4))
    for _ in range(2):  # before and after anything is in the queues
        terms = terms_of(swapper, empty)
        assert not terms['loss_forget_features'].any() and not terms['forget/answers'].any()
        swapper.parse_losses(terms)[0].backward()
    without_any = batch_for(name, swapper, (0, 0, 0, 0))
    terms = terms_of(swapper, without_any)
    assert all(torch.as_tensor(value).isfinite().all() for value in terms.values())


@pytest.mark.parametrize('name', ['vit', 'dino'])
def test_in_bfloat16(name):
    swapper, data = ready(name)
    swapper.fused.fp32_losses = name == 'dino'
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = terms_of(swapper, data)
    assert terms['forget/features'].dtype == torch.float32
    assert all(torch.as_tensor(value).isfinite().all() for value in terms.values())


@pytest.mark.parametrize('name', ['dino', 'mask2former'])
def test_a_forgotten_object_is_answered_as_surely_as_one_never_seen(name):
    """Those nearest to what is kept the most surely; without unseen classes half as the teacher."""
    swapper, data = ready(name)
    terms_of(swapper, data)
    loss, sigmoid = swapper.swapping_loss, swapper.samples.sigmoid
    logits = torch.randn(3, loss.means.counts.shape[1] + (not sigmoid))
    known = surest(logits, loss.means.counts.shape[1], sigmoid)
    closeness = torch.tensor([0.3, 0.9, 0.6])
    assert torch.equal(loss._sureness(0, closeness, logits, sigmoid), UNKNOWN * known)
    loss.unseen = [torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])] * len(loss.means.counts)
    found = loss._sureness(0, closeness, logits, sigmoid)
    assert found.tolist() == pytest.approx([0.2, 0.6, 0.4])
    terms = terms_of(swapper, data)
    assert terms['forget/answers'].isfinite() and loss.to_dict()['unseen'] == loss.unseen


def test_a_stored_state_goes_on_alike():
    swapper, data = ready('vit')
    optimizer = torch.optim.SGD([p for p in swapper.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        swapper.parse_losses(terms_of(swapper, data))[0].backward()
        optimizer.step()
    count = len(swapper.swapping_loss.memory.labels)
    swapper.swapping_loss.steer([0.4] + [0.6] * (count - 1), [0.5] * count)
    twin = copy.deepcopy(swapper)
    state = copy.deepcopy(swapper.swapping_loss.to_dict())
    twin.swapping_loss.begin(None)
    twin.swapping_loss.take_over(state, torch.device('cpu'))
    found, wanted = terms_of(twin, data), terms_of(swapper, data)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_steering_goes_both_ways_within_limits_at_each_place():
    loss = FeatureMatchingLoss(strength=10.0)
    loss.steer([0.65, 0.8], [0.75, 0.7])
    e = 2.718281828
    assert loss.weights == pytest.approx([10 / e, 10 * e], rel=1e-6)
    assert loss.back == pytest.approx([1.0, 0.0])
    loss.steer([0.75, 0.7], [0.65, 0.8])
    assert loss.weights == pytest.approx([10, 10])
    for _ in range(9):
        loss.steer([1.0, 0.0], [0.0, 1.0])
    assert loss.weights == pytest.approx([100.0, 0.1]) and loss.back == pytest.approx([0.0, 10.0])


def test_what_is_kept_goes_before_the_target():
    """A probe far above its target grows no weight while more is lost than may be."""
    loss = FeatureMatchingLoss(strength=10.0)
    loss.steer([0.9, 0.2], [0.5, 0.5], spare=0.01)
    e = 2.718281828
    assert loss.weights == pytest.approx([10 * e, 10 / e])  # a step is by e at most
    loss.steer([0.9, 0.2], [0.5, 0.5], spare=-0.5)
    assert loss.weights == pytest.approx([10 * e * e**-0.5, 10 / e / e])
    loss.steer([0.5, 0.5], [0.5, 0.5], spare=-7.0)
    assert loss.weights == pytest.approx([10 * e**-0.5, 10 / e**3])


def test_the_weights_of_the_places_count():
    swapper, data = ready('vit', forgotten=(1, 3), strength=2.0)
    swapper.eval()
    labelled(data)
    objective = swapper.swapping_loss
    whole = {}
    for place in (0, 1):
        objective.begin(None)
        terms_of(swapper, data)
        objective.weights = [float(place == n) for n in range(len(objective.memory.labels))]
        objective.back = [float(place == n) for n in range(len(objective.memory.labels))]
        whole[place] = float(terms_of(swapper, data)['loss_forget_features'].detach())
        # A tenth of a weight is a tenth of the term.
        objective.weights = [each / 10 for each in objective.weights]
        tenth = terms_of(swapper, data)
        value = float(tenth['loss_forget_features'].detach())
        assert value == pytest.approx(whole[place] / 10, rel=0.02)
    assert whole[0] != pytest.approx(whole[1])


def test_features_that_say_too_little_are_drawn_back():
    swapper, data = ready('vit', forgotten=(1, 3), strength=2.0)
    swapper.eval()
    optimizer = torch.optim.SGD([p for p in swapper.parameters() if p.requires_grad], lr=0.1)
    terms_of(swapper, data)
    with torch.no_grad():  # away from the teacher
        for name, parameter in swapper.named_parameters():
            if 'lora_B' in name:
                parameter.add_(0.05)
    count = len(swapper.swapping_loss.memory.labels)
    swapper.swapping_loss.steer([0.1] * count, [0.5] * count)
    swapper.swapping_loss.weights = [0.0] * count
    moved = []
    for _ in range(10):
        terms = terms_of(swapper, data)
        moved.append(float(terms['loss_forget_moved'].detach()))
        optimizer.zero_grad()
        terms['loss_forget_moved'].backward()
        optimizer.step()
    assert 0 < moved[-1] < 0.9 * moved[0]
    swapper.swapping_loss.steer([0.6] * count, [0.5] * count)
    assert 'loss_forget_moved' not in terms_of(swapper, data)


def test_places_of_a_decoder_are_its_layers():
    swapper, (inputs, samples) = ready('dino')
    found = swapper.sample_losses(inputs['forget'], samples['forget'])
    layers = places(found, 2)
    for number, (rows, features) in enumerate(layers):
        assert (found.layers[rows] == number).all() and len(rows) == len(found) // 2
        assert torch.equal(features, found.features[rows])


def test_places_beside_one_another_are_each_as_alone():
    """Of other widths and numbers of samples, too: what is filled up counts for nothing."""
    torch.manual_seed(0)
    widths, counts, classes = (3, 5, 4), (6, 4, 6), torch.tensor([1, 3])
    found = SimpleNamespace(labels=torch.tensor([1, 3, 1, 3, 3, 1]))
    parts = [(torch.arange(n), torch.randn(n, d)) for n, d in zip(counts, widths, strict=True)]
    stacked = stack(found, parts)
    assert stacked.features.shape == (3, 6, 5) and stacked.there.sum(1).tolist() == list(counts)
    members = (found.labels[:, None] == classes).float()
    shares, labels = torch.rand(2, 5), torch.tensor([0, 2, 2, 4, -1])
    others = [normalize(torch.randn(5, d), dim=1) for d in widths]
    wide = torch.stack([pad(each, (0, 5 - each.shape[1])) for each in others])
    weights = mixture(labels.expand(3, 5), shares.expand(3, 2, 5))
    own = members[stacked.rows] * stacked.there[..., None]
    at_once = discrepancy(stacked.features, own, wide, weights)
    kept = ClassMeans(3, 5, 5, torch.device('cpu'))
    kept.add(wide, labels.expand(3, 5))
    votes, closeness = kept.nearest(stacked.features, classes)
    for place, ((rows, features), other) in enumerate(zip(parts, others, strict=True)):
        alone = discrepancy(features, members[rows], other, mixture(labels, shares))
        assert at_once[place].tolist() == pytest.approx(alone.tolist(), abs=1e-5)
        means = ClassMeans(1, 5, other.shape[1], torch.device('cpu'))
        means.add(other[None], labels[None])
        found_votes, close = means.nearest(features[None], classes)
        assert torch.equal(votes[place, : len(rows)], found_votes[0])
        assert torch.allclose(closeness[place, : len(rows)], close[0], atol=1e-6)


def test_more_places_take_hardly_more_operators():
    """On a GPU a small host's step takes as long as its operators take to be started."""
    launches = []
    for blocks in (1, 2):
        swapper, data = ready('vit', forgotten=(1, 3), blocks=blocks)
        labelled(data)
        terms_of(swapper, data)
        with SyncCounter() as counter:
            swapper.parse_losses(terms_of(swapper, data))[0].backward()
        launches.append(counter.launches)
    count = len(swapper.swapping_loss.memory.labels)
    assert count == 3 and launches[1] - launches[0] <= 20


def test_nobody_said_what_is_forgotten(raises_config_error):
    swapper, data = ready('vit')
    swapper.swapping_loss.forgotten = None
    with raises_config_error('custom_hooks', None, 'FeatureMatchingHook'):
        terms_of(swapper, data)
