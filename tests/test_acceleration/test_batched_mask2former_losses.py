"""Against the host's own heads: assignments, losses, gradients; and how often a step waits."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import point_sample
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.models.decode_heads import Mask2FormerHead as SemanticHead
from mmseg.structures import SegDataSample

from knowswap_mm.acceleration import BatchedMask2FormerLosses
from knowswap_mm.acceleration.matching import assignment as normalisers
from knowswap_mm.acceleration.matching import mask_losses as costs_module
from knowswap_mm.acceleration.matching.assignment import assign
from knowswap_mm.acceleration.matching.mask_losses import (
    BatchedMask2FormerHead,
    MaskSegments,
    mask_costs,
)
from knowswap_mm.acceleration.matching.semantic_mask2former import BatchedSemanticMask2FormerHead
from tests.helpers.accelerated_steps import assert_same_steps, build_segmentor, semantic_batch, step
from tests.helpers.segmentation_configs import host_config
from tests.helpers.sync_counter import SyncCounter

CLASSES, SETS, POINTS = 5, 3, 20
COSTS = [
    dict(type='mmdet.ClassificationCost', weight=2.0),
    dict(type='mmdet.CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
    dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0),
]
OTHER_COSTS = [
    dict(type='mmdet.DiceCost', weight=3.0, pred_act=False, naive_dice=False, eps=0.5),
    dict(type='mmdet.ClassificationCost', weight=1.0),
]


def build_head(queries=6, semantic=True, **changes):
    """A head of mmseg or mmdet without its transformer, which losses do not need."""
    config = copy.deepcopy(host_config(CLASSES)['decode_head'])
    config['loss_cls']['class_weight'] = [1.0, 2.0, 0.5, 1.0, 1.5, 0.1]
    config.update(num_queries=queries)
    config['train_cfg'].update(num_points=POINTS)
    if not semantic:
        config['type'] = 'mmdet.Mask2FormerHead'
        for name in ('num_classes', 'align_corners'):
            config.pop(name)
        config.update(num_things_classes=CLASSES - 2, num_stuff_classes=2)
    for key, value in changes.items():
        *parents, last = key.split('__')
        part = config
        for name in parents:
            part = part[name]
        part[last] = value
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(ConfigDict(config)).train()


def predictions(counts, queries=6, seed=0):
    """What a head's loss gets, for images with numbers of segments."""
    generator = torch.Generator().manual_seed(seed)
    pictures = len(counts)
    scores = [torch.randn(pictures, queries, CLASSES + 1, generator=generator) for _ in range(SETS)]
    masks = [3 * torch.randn(pictures, queries, 6, 8, generator=generator) for _ in range(SETS)]
    batch = []
    for count in counts:
        segments = (torch.rand(count, 24, 32, generator=generator) < 0.4).long()
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        batch.append(InstanceData(labels=labels, masks=segments))
    return scores, masks, batch, [dict() for _ in counts]


def losses_and_gradients(head, scores, masks, *more):
    scores, masks = ([part.clone().requires_grad_() for part in parts] for parts in (scores, masks))
    torch.manual_seed(7)
    losses = head.loss_by_feat(scores, masks, *more)
    weights = torch.linspace(0.5, 2, len(losses))
    sum(w * value.sum() for w, value in zip(weights, losses.values(), strict=True)).backward()
    return losses, [part.grad for part in scores + masks], torch.rand(3)


def accelerated(head):
    fast = copy.deepcopy(head)
    assert BatchedMask2FormerLosses().apply(fast) == 1
    return fast


def assert_same_losses(head, fast, given_losses):
    wanted, wanted_gradients, wanted_next = losses_and_gradients(head, *given_losses)
    found, gradients, next_drawn = losses_and_gradients(fast, *given_losses)
    assert list(found) == list(wanted) and torch.equal(next_drawn, wanted_next)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.reshape(()), rtol=1e-5, atol=1e-6, msg=name)
    for gradient, wanted_gradient in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-6)


COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=4)


@pytest.mark.parametrize('semantic', [True, False])
def test_losses_and_gradients_are_the_hosts(semantic):
    """Images without a segment, and with more segments than queries, are among them."""
    head = build_head(semantic=semantic)
    fast = accelerated(head)

    @settings(max_examples=40, deadline=None)
    @given(counts=COUNTS, queries=st.integers(1, 10), seed=st.integers(0, 99))
    def check(counts, queries, seed):
        head.num_queries = queries
        assert_same_losses(head, fast, predictions(counts, queries, seed))

    check()


@pytest.mark.parametrize(
    'changes',
    [
        dict(train_cfg__assigner__match_costs=OTHER_COSTS),
        dict(train_cfg__importance_sample_ratio=1.0),
        dict(train_cfg__importance_sample_ratio=0.0, train_cfg__oversample_ratio=1.0),
        dict(loss_dice__naive_dice=False, loss_dice__eps=0.1),
        dict(loss_dice__activate=False, loss_mask__loss_weight=1.0),
    ],
    ids=str,
)
def test_other_settings_of_known_parts(changes):
    head = build_head(**changes)
    assert_same_losses(head, accelerated(head), predictions((3, 0, 7)))


@pytest.mark.parametrize('most', [1, 700, 2**25])
def test_assignments_are_the_hosts_however_many_layers_at_a_time(monkeypatch, most):
    monkeypatch.setattr(costs_module, 'MOST_VALUES', most)
    head = build_head()

    @settings(max_examples=20, deadline=None)
    @given(counts=COUNTS.filter(sum), queries=st.integers(1, 10), seed=st.integers(0, 99))
    def check(counts, queries, seed):
        scores, masks, batch, _ = predictions(counts, queries, seed)
        points = torch.rand(SETS, len(counts), POINTS, 2)
        segments = MaskSegments(batch)
        costs = mask_costs(head.assigner.match_costs, torch.stack(scores), masks, points, segments)
        pairs = assign(costs.numpy(), segments.counts)
        for number in range(SETS):
            wanted, first = [], 0
            for picture, instances in enumerate(batch):
                here = points[number, picture : picture + 1]
                at_points = [
                    point_sample(part.float()[None], here)[0]
                    for part in (masks[number][picture], instances.masks)
                    if len(part)
                ]
                if len(at_points) == 2:
                    result = head.assigner.assign(
                        InstanceData(scores=scores[number][picture], masks=at_points[0]),
                        InstanceData(labels=instances.labels, masks=at_points[1]),
                    )
                    for query in result.gt_inds.nonzero().flatten().tolist():
                        segment = first + int(result.gt_inds[query]) - 1
                        wanted.append((picture * queries + query, segment))
                first += len(instances)
            assert [tuple(pair) for pair in pairs[:, number].T.tolist()] == wanted

    check()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sets(st.sampled_from([0, 2, 3, 4, 255])), min_size=1, max_size=4))
def test_segments_of_maps_are_the_hosts(classes):
    samples = []
    for found in classes:
        label = torch.full((1, 8, 10), 255)
        for number, value in enumerate(sorted(found)):
            label[:, number : number + 4, number:7] = value
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=dict(a=1)))
    host = object.__new__(SemanticHead)
    fast = object.__new__(BatchedSemanticMask2FormerHead)
    for head in (host, fast):
        torch.nn.Module.__init__(head)
        head.num_classes, head.ignore_index = CLASSES, 255
    (wanted, wanted_metas), (found, metas) = (
        head._seg_data_to_instance_data(samples) for head in (host, fast)
    )
    assert metas == wanted_metas
    for instances, wanted_instances in zip(found, wanted, strict=True):
        order = wanted_instances.labels.argsort()
        assert instances.labels.dtype == wanted_instances.labels.dtype
        assert torch.equal(instances.labels, wanted_instances.labels[order])
        assert torch.equal(instances.masks.long(), wanted_instances.masks[order])


class OwnHead(SemanticHead):
    """Somebody's own head."""


@pytest.mark.parametrize(
    'changes',
    [
        dict(type='knowswap_mm.LabelledPointsMask2FormerHead'),
        dict(loss_mask=dict(type='mmdet.FocalLoss')),
        dict(loss_cls__ignore_index=3),
        dict(loss_dice__reduction='sum'),
        dict(train_cfg__sampler=dict(type='mmdet.PseudoSampler')),
        dict(train_cfg__assigner__match_costs=[dict(type='mmdet.FocalLossCost')]),
    ],
    ids=str,
)
def test_unusual_heads_keep_their_own_path(changes):
    import knowswap_mm.models.heads  # noqa: F401  as custom_imports of a config does

    head = build_head(**changes)
    kind = type(head)
    assert BatchedMask2FormerLosses().apply(head) == 0 and type(head) is kind


def test_another_assigner_keeps_its_path():
    head = build_head()
    head.assigner.__class__ = type('OwnAssigner', (HungarianAssigner,), {})
    assert BatchedMask2FormerLosses().apply(head) == 0


def test_masks_of_several_sizes_are_left_to_the_host():
    head = accelerated(build_head())
    scores, masks, batch, metas = predictions((2, 2))
    batch[0] = InstanceData(labels=batch[0].labels, masks=batch[0].masks[:, :-1])
    with pytest.raises(RuntimeError, match='Sizes of tensors must match'):
        head.loss_by_feat(scores, masks, batch, metas)


@pytest.fixture(scope='module')
def swappers():
    """The same swapper as it is and accelerated."""
    return build_segmentor(), build_segmentor(['BatchedMask2FormerLosses'])


def test_only_the_class_of_the_head_changes(swappers):
    plain, fast = swappers
    assert fast.accelerated == dict(BatchedMask2FormerLosses=1)
    for swapper in (fast, copy.deepcopy(fast)):
        head = swapper.host.decode_head
        assert type(head) is BatchedSemanticMask2FormerHead and isinstance(head, SemanticHead)
        assert swapper.state_dict().keys() == plain.state_dict().keys()
    assert BatchedMask2FormerLosses().apply(fast.host) == 0, 'once is enough'
    detector_head = build_head(semantic=False)
    assert type(detector_head) is Mask2FormerHead
    assert type(accelerated(detector_head)) is BatchedMask2FormerHead


@pytest.mark.parametrize('counts', [(2, 1, 3, 0), (0, 0, 0, 0), (1, 6, 5, 4)])
def test_steps_are_the_hosts(swappers, counts):
    assert_same_steps(*swappers, semantic_batch(counts))


def test_a_step_under_autocast_is_finite(swappers):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = step(swappers[1], semantic_batch())
    assert all(torch.isfinite(value).all() for value in found.values())


def test_a_role_waits_once_whatever_its_pictures():
    """The host waits for each image and layer; launches do not depend on the images either."""

    def counts_of(head, counts):
        given_losses = predictions(counts)
        with SyncCounter() as counter:
            losses_and_gradients(head, *given_losses)
        drawn = sum(number for name, number in counter.operators.items() if 'uniform' in name)
        return counter.reads.total(), counter.writes.total(), counter.launches - drawn

    host = build_head()
    head = accelerated(host)
    reads, _, launches = counts_of(host, (2, 3))
    assert reads > 30
    few, many = counts_of(head, (2, 3)), counts_of(head, (1, 2, 3, 4))
    assert few == many and few[:2] == (1, 3) and few[2] < launches / 2


def test_a_step_waits_twice_a_role_for_its_losses(swappers):
    """For the classes of its maps and for its costs."""
    reads, launches = [], []
    for swapper in swappers:
        with SyncCounter() as counter:
            step(swapper, semantic_batch())
        heads = counter.reads_in('/dense_heads/', '/decode_heads/', '/assigners/', '/samplers/')
        reads.append(heads + counter.reads_in('assignment'))
        launches.append(counter.launches)
    assert reads[0] > 70 and reads[1] == 4
    assert launches[1] < 0.8 * launches[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_is_waited_for_by_an_event_alone():
    """The copy of the costs; torch makes an error of every other wait. The points are the same."""
    head = build_head()
    fast = accelerated(head)
    scores, masks, batch, metas = predictions((2, 0, 5))
    scores, masks = ([part.cuda() for part in parts] for parts in (scores, masks))
    given_losses = scores, masks, [instances.to('cuda') for instances in batch], metas
    wanted, wanted_gradients, _ = losses_and_gradients(head, *given_losses)
    losses_and_gradients(fast, *given_losses)
    torch.cuda.set_sync_debug_mode('error')
    try:
        found, gradients, _ = losses_and_gradients(fast, *given_losses)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.reshape(()), rtol=1e-5, atol=1e-5)
    for gradient, wanted_gradient in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-5)


def test_the_classes_of_maps_are_one_copy(swappers):
    swapper = swappers[1]
    data = swapper.data_preprocessor(semantic_batch(), training=True)
    with SyncCounter() as counter:
        swapper.host.decode_head._seg_data_to_instance_data(data['data_samples']['learn'])
    assert (counter.reads.total(), counter.writes.total()) == (1, 1)


def test_processes_share_their_counts(monkeypatch):
    """Two processes of which the other has found as much again."""
    head = accelerated(build_head())
    given_losses = predictions((3, 0, 5))
    alone = losses_and_gradients(head, *given_losses)[0]
    messages = []
    monkeypatch.setattr(normalisers, 'is_distributed', lambda: True)
    monkeypatch.setattr(
        normalisers, 'reduce_mean', lambda tensor: messages.append(tensor) or tensor * 2
    )
    shared = losses_and_gradients(head, *given_losses)[0]
    assert [message.tolist() for message in messages] == [[3 + 1 + 5]]
    for name, value in alone.items():
        factor = 1 if 'cls' in name else 2
        torch.testing.assert_close(value, factor * shared[name], rtol=1e-6, atol=0)
