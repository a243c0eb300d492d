"""Samples of transformers with queries against the hosts' own targets."""

import math

import pytest
import torch

from knowswap_mm.models.samples import queries
from knowswap_mm.models.samples.reader import nats_of
from tests.helpers.sample_hosts import CLASSES, QUERIES, batch_for, build, dino

#: Hosts with a row of no object and a softmax.
SOFTMAX = ('detr', 'mask2former', 'labelled_points', 'maskformer', 'instances')
ACCELERATED = dict(
    dino='BatchedDINOLosses',
    deformable_detr='BatchedDINOLosses',
    mask2former='BatchedMask2FormerLosses',
    instances='BatchedMask2FormerLosses',
)


class Spy:
    """Keeps what a head says of its queries, and the targets that its own code finds."""

    def __init__(self, head):
        self.labels, self.logits, self.seen = [], [], []
        self.head, self.get_targets = head, head.get_targets
        head.get_targets = self._targets
        head.register_forward_hook(self._keep)

    def _targets(self, *args, **settings):
        found = self.get_targets(*args, **settings)
        self.labels.append(torch.stack(found[0]))
        return found

    def _keep(self, head, inputs, output):
        self.logits, self.seen = list(output[0]), inputs[0]

    def samples(self, images, sigmoid):
        """Layer, image, label and nats of each matched query, sorted."""
        found = []
        # Proposals of an encoder follow; denoising has targets of another function.
        for layer, logits in enumerate(self.logits):
            labels = self.labels[layer]
            first = logits.shape[1] - labels.shape[1]
            for image in range(images):
                for query, label in enumerate(labels[image].tolist()):
                    if label < self.head.num_classes:
                        row = logits[image, first + query].tolist()
                        nats = math.log(sum(map(math.exp, row))) - row[label]
                        if sigmoid:
                            nats = math.log(1 + math.exp(-row[label]))
                        found.append((layer, image, label, nats))
        return sorted(found)


def head_of(swapper):
    return swapper.host.get_submodule(swapper.samples.head)


def read(swapper, name, role='retain', counts=(1, 2, 2, 4)):
    inputs, samples = batch_for(name, swapper, counts)
    return swapper.sample_losses(inputs[role], samples[role])


def rows(found):
    """As :meth:`Spy.samples` gives them."""
    parts = (found.layers, found.images, found.labels, found.nats)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def assert_alike(found, wanted):
    assert [row[:3] for row in found] == [row[:3] for row in wanted]
    # Objects of one class in one image are in no order.
    values = [[row[3] for row in sorted(part)] for part in (found, wanted)]
    assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize('name', [name for name in QUERIES if name != 'labelled_points'])
def test_nats_of_matched_queries(name):
    swapper = build(name)
    spy = Spy(head_of(swapper))
    found = read(swapper, name)
    wanted = spy.samples(2, name not in SOFTMAX)
    assert len(spy.logits) == (3 if name in ('mask2former', 'instances') else 2)
    assert len(wanted) == 6 * len(spy.logits)
    assert_alike(rows(found), wanted)
    chance = math.log(CLASSES + (name in SOFTMAX))
    assert swapper.samples.chance == chance
    # Where boxes are ranked by sigmoids, one that is worse than a guess may still be the best.
    assert swapper.samples.silence == (chance if name in SOFTMAX else -math.log(0.01))


def test_a_head_with_other_targets_is_read_from_its_class_loss():
    """Images are labelled where there are segments only, so that everything else is the same."""
    found, wanted = (
        read(build('labelled_points'), 'labelled_points'),
        read(build('mask2former'), 'mask2former'),
    )
    assert [row[:3] for row in rows(found)] == [row[:3] for row in rows(wanted)]
    assert found.nats.isfinite().all() and (found.nats > 0).all()


@pytest.mark.parametrize('queries', [10, 40])
@pytest.mark.parametrize('accelerations', [(), ('BatchedDINOLosses',)], ids=['host', 'batched'])
def test_denoising_queries_are_no_samples(accelerations, queries):
    """As many denoising queries as others, too: nothing tells them apart by their number."""
    swapper = build('dino', dino(queries), accelerations=accelerations)
    metas = []
    head = head_of(swapper)
    forward = head.loss_by_feat
    head.loss_by_feat = lambda *args: metas.append(args[6]) or forward(*args)
    found = read(swapper, 'dino')
    assert metas[0]['num_denoising_queries'] == 40
    assert len(found) == 2 * 6
    plain = build('dino', dino(queries))
    spy = Spy(head_of(plain))
    read(plain, 'dino')
    assert_alike(rows(found), spy.samples(2, True))


@pytest.mark.parametrize('name', ACCELERATED)
def test_accelerated_heads_are_read_alike(name):
    fast, plain = build(name, accelerations=[ACCELERATED[name]]), build(name)
    assert fast.accelerated[ACCELERATED[name]] == 1
    found, wanted = read(fast, name), read(plain, name)
    assert_alike(rows(found), rows(wanted))
    assert found.features.shape == wanted.features.shape
    torch.testing.assert_close(found.features.sum(0), wanted.features.sum(0), rtol=1e-3, atol=1e-3)
    assert 'tell_pairs' not in vars(head_of(fast))


@pytest.mark.parametrize('name', ['dino', 'mask2former', 'maskformer'])
def test_features_are_what_the_class_layers_see(name):
    """The class layers, asked again, say of the features what the logits are."""
    swapper = build(name)
    found = read(swapper, name)
    layers = [swapper.host.get_submodule(each) for each in swapper.samples.layers]
    for features, said, number in zip(found.features, found.logits, found.layers, strict=True):
        wanted = layers[int(number) % len(layers)](features)
        torch.testing.assert_close(said, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['detr', 'dino', 'mask2former', 'maskformer'])
@pytest.mark.parametrize('almost', [1.0, 0.0], ids=['alone', 'all'])
def test_features_are_of_all_queries_that_lie_on_the_object(name, almost, monkeypatch):
    """Where none lies near, those of the matched query, of which the nats are; where all do, all.

    Denoising queries never do.
    """
    monkeypatch.setattr(queries, 'ALMOST', almost)
    swapper = build(name)
    spy = Spy(head_of(swapper))
    found = read(swapper, name)
    if almost:
        nats = nats_of(found.logits, found.labels, name not in SOFTMAX)
        torch.testing.assert_close(nats, found.nats, rtol=1e-4, atol=1e-5)
        return
    for number, image, said in zip(found.layers, found.images, found.logits, strict=True):
        asked = spy.logits[number][image][-spy.labels[0].shape[1] :]
        torch.testing.assert_close(said, asked.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['dino', 'mask2former'])
@pytest.mark.parametrize('accelerated', [False, True])
def test_images_without_an_object_are_no_samples(name, accelerated):
    swapper = build(name, accelerations=[ACCELERATED[name]] if accelerated else [])
    found = read(swapper, name, 'forget', (0, 0, 2, 4))
    assert len(found) == 0 and found.features.shape == (0, 32)
    assert len(read(swapper, name, 'forget', (0, 3, 2, 4))) > 0
