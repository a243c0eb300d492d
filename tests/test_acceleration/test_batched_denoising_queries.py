"""Against the host's own generator: queries, masks, gradients and the random stream."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.layers import CdnQueryGenerator
from mmdet.structures import DetDataSample

from knowswap_mm.acceleration import BatchedDenoisingQueries
from knowswap_mm.acceleration.matching.batched_cdn_query_generator import (
    BatchedCdnQueryGenerator,
    replace_labels,
)
from tests.accelerated_steps import (
    assert_same_steps,
    build_detector,
    detection_batch,
    random_objects,
)
from tests.sync_counter import SyncCounter

CLASSES = 5
DYNAMIC = dict(dynamic=True, num_dn_queries=20)
STATIC = dict(dynamic=False, num_groups=3)


class OwnGenerator(CdnQueryGenerator):
    """Somebody's own generator."""


def build_generator(group_cfg=DYNAMIC, kind=CdnQueryGenerator, **changes):
    torch.manual_seed(0)
    return kind(CLASSES, 8, num_matching_queries=6, group_cfg=group_cfg, **changes)


def samples(counts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for count in counts:
        size = tuple(torch.randint(20, 90, (2,), generator=generator).tolist())
        sample = DetDataSample(metainfo=dict(img_shape=size))
        sample.gt_instances = random_objects(generator, count, size, CLASSES)
        found.append(sample)
    return found


def run(generator, batch, device='cpu'):
    """Everything that a call has effects on."""
    torch.manual_seed(3)
    *tensors, meta = generator(batch)
    generator.zero_grad()
    tensors[0].square().sum().backward()
    return [*tensors, generator.label_embedding.weight.grad, torch.rand(4, device=device)], meta


def assert_same_queries(generator, batch, device='cpu'):
    fast = copy.deepcopy(generator)
    assert BatchedDenoisingQueries().apply(fast) == 1
    wanted, found = run(generator, batch, device), run(fast, batch, device)
    assert found[1] == wanted[1]
    for value, wanted_value in zip(found[0], wanted[0], strict=True):
        assert value.dtype == wanted_value.dtype and torch.equal(value, wanted_value)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 15), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    group_cfg=st.sampled_from([DYNAMIC, STATIC]),
    noise=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_queries_and_what_is_drawn_next_are_the_hosts(counts, seed, group_cfg, noise):
    """Without any object, too, and with more objects than there shall be queries."""
    generator = build_generator(group_cfg, label_noise_scale=noise, box_noise_scale=2 * noise)
    assert_same_queries(generator, samples(counts, seed))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('counts', [(1,), (3, 0, 9), (15, 40)])
def test_the_random_stream_of_a_gpu_is_the_hosts(counts):
    batch = [sample.to('cuda') for sample in samples(counts)]
    generator = build_generator(dict(dynamic=True, num_dn_queries=100)).cuda()
    assert_same_queries(generator, batch, 'cuda')


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_drawn_labels_are_put_where_a_scatter_puts_them(replaced):
    replaced = torch.tensor(replaced)
    labels, drawn = torch.arange(len(replaced)), 100 + torch.arange(len(replaced))
    places = replaced.nonzero().flatten()
    wanted = labels.scatter(0, places, drawn[: len(places)])
    assert torch.equal(replace_labels(labels, replaced, drawn), wanted)


def test_nothing_waits_for_the_device():
    generator = build_generator()
    fast = copy.deepcopy(generator)
    BatchedDenoisingQueries().apply(fast)
    found = []
    for each, counts in ((generator, (2, 3)), (fast, (2, 3)), (fast, (1, 2, 3, 4))):
        batch = samples(counts)
        with SyncCounter() as counter:
            each(batch)
        found.append((counter.reads.total(), counter.writes.total(), counter.launches))
    # On a CPU the host's way of drawing labels is kept, with its one look at how many there are.
    assert found[0][0] >= 5 and found[1][:2] == found[2][:2] == (1, 1)
    assert found[1][2] == found[2][2] < found[0][2]


def test_somebodys_own_generator_keeps_its_path():
    generator = build_generator(kind=OwnGenerator)
    assert BatchedDenoisingQueries().apply(generator) == 0 and type(generator) is OwnGenerator


def test_steps_are_the_hosts():
    names = ['BatchedDINOLosses', 'BatchedDenoisingQueries']
    plain, fast = build_detector(), build_detector(names)
    assert fast.accelerated == dict.fromkeys(names, 1)
    assert type(fast.host.dn_query_generator) is BatchedCdnQueryGenerator
    assert fast.state_dict().keys() == plain.state_dict().keys()
    data = detection_batch((2, 1, 3, 0), sizes=((64, 48), (40, 64), (64, 64), (56, 32)))
    assert_same_steps(plain, copy.deepcopy(fast), data)
