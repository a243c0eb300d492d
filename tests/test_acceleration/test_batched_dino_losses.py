"""Against the host's own heads: assignments, losses, gradients; and how often a step waits."""

import copy
import traceback
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import DeformableDETRHead, DINOHead
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from knowswap_mm.acceleration import BatchedDINOLosses
from knowswap_mm.acceleration.matching import assignment as normalisers
from knowswap_mm.acceleration.matching.assignment import assign
from knowswap_mm.acceleration.matching.box_losses import BoxObjects, box_costs
from knowswap_mm.acceleration.matching.dino import BatchedDeformableDETRHead, BatchedDINOHead
from tests.helpers.accelerated_steps import (
    assert_same_steps,
    build_detector,
    detection_batch,
    random_objects,
    step,
)
from tests.helpers.sync_counter import SyncCounter

CLASSES, LAYERS = 5, 3
COSTS = [
    dict(type='FocalLossCost', weight=2.0),
    dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
    dict(type='IoUCost', iou_mode='giou', weight=2.0),
]
OTHER_COSTS = [
    dict(type='ClassificationCost', weight=1.5),
    dict(type='BBoxL1Cost', weight=3.0),
    dict(type='IoUCost', iou_mode='iou', weight=2.0),
    dict(type='FocalLossCost', alpha=0.4, gamma=1.5, weight=0.5),
]


def build_head(kind=DINOHead, costs=COSTS, **changes):
    config = dict(
        num_classes=CLASSES,
        embed_dims=8,
        num_pred_layer=LAYERS + 1,
        sync_cls_avg_factor=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.5),
        loss_bbox=dict(type='L1Loss', loss_weight=5.0),
        loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        train_cfg=dict(assigner=dict(type='HungarianAssigner', match_costs=costs)),
    )
    return kind(**(config | changes))


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def predictions(counts, queries, groups=2, seed=0, kind=DINOHead):
    """What a head's loss gets, for images of different sizes with numbers of objects."""
    generator = torch.Generator().manual_seed(seed)
    noisy = 2 * max(counts) * groups if kind is DINOHead else 0
    places = queries if kind is DINOHead else 2 * queries
    shape, encoded = (LAYERS, len(counts), noisy + queries), (len(counts), places)
    tensors = [
        torch.randn(*shape, CLASSES, generator=generator),
        torch.rand(*shape, 4, generator=generator),
        torch.randn(*encoded, CLASSES, generator=generator),
        torch.rand(*encoded, 4, generator=generator),
    ]
    sizes = [
        (int(h), int(w)) for h, w in torch.randint(20, 90, (len(counts), 2), generator=generator)
    ]
    batch = [
        random_objects(generator, count, size, CLASSES)
        for count, size in zip(counts, sizes, strict=True)
    ]
    more = [batch, [dict(img_shape=size) for size in sizes]]
    if kind is DINOHead:
        more.append(dict(num_denoising_queries=noisy, num_denoising_groups=groups))
    return tensors, more


def losses_and_gradients(head, tensors, more):
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    losses = head.loss_by_feat(*tensors, *more)
    weights = torch.linspace(0.5, 2, len(losses))
    sum(w * value.sum() for w, value in zip(weights, losses.values(), strict=True)).backward()
    return losses, [tensor.grad for tensor in tensors]


def assert_same_losses(head, tensors, more):
    fast = copy.deepcopy(head)
    assert BatchedDINOLosses().apply(fast) == 1
    wanted, wanted_gradients = losses_and_gradients(head, tensors, more)
    found, gradients = losses_and_gradients(fast, tensors, more)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.reshape(()), rtol=1e-5, atol=1e-6, msg=name)
    for gradient, wanted_gradient in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-6)


COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    counts=COUNTS,
    queries=st.integers(1, 12),
    groups=st.integers(1, 3),
    seed=st.integers(0, 99),
    kind=st.sampled_from([DINOHead, DeformableDETRHead]),
)
def test_losses_and_gradients_are_the_hosts(counts, queries, groups, seed, kind):
    """Images without an object, and with more objects than queries, are among them."""
    assert_same_losses(build_head(kind), *predictions(counts, queries, groups, seed, kind))


@pytest.mark.parametrize(
    'changes',
    [
        dict(costs=OTHER_COSTS),
        dict(sync_cls_avg_factor=False),
        dict(loss_bbox=dict(type='SmoothL1Loss', beta=0.2, loss_weight=3.0)),
        dict(loss_iou=dict(type='GIoULoss', eps=1e-3, loss_weight=1.0)),
    ],
    ids=str,
)
def test_other_settings_of_known_parts(changes):
    assert_same_losses(build_head(**changes), *predictions((3, 0, 7), 9))


def test_without_proposals():
    tensors, more = predictions((3, 1), 6)
    head = build_head()
    fast = copy.deepcopy(head)
    BatchedDINOLosses().apply(fast)
    wanted = head.loss_by_feat(*tensors[:2], None, None, *more)
    found = fast.loss_by_feat(*tensors[:2], None, None, *more)
    assert list(found) == list(wanted) and not any('enc' in name for name in found)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name].reshape(()))


@settings(max_examples=40, deadline=None)
@given(
    counts=COUNTS,
    queries=st.integers(1, 12),
    seed=st.integers(0, 99),
    costs=st.sampled_from([COSTS, OTHER_COSTS]),
)
def test_assignments_are_the_hosts(counts, queries, seed, costs):
    head = build_head(costs=costs)
    (_, _, scores, boxes), (batch, metas, _) = predictions(counts, queries, seed=seed)
    objects = BoxObjects(batch, metas)
    found = box_costs(head.assigner.match_costs, scores[None], boxes[None], objects)
    pairs = assign(found.numpy(), objects.counts)[:, 0]
    wanted, first = [], 0
    for picture, (instances, meta) in enumerate(zip(batch, metas, strict=True)):
        factor = torch.tensor([*meta['img_shape'][::-1]] * 2)
        given_boxes = bbox_cxcywh_to_xyxy(boxes[picture]) * factor
        result = head.assigner.assign(
            InstanceData(scores=scores[picture], bboxes=given_boxes), instances, meta
        )
        for query in result.gt_inds.nonzero().flatten().tolist():
            wanted.append((picture * queries + query, first + int(result.gt_inds[query]) - 1))
        first += len(instances)
    assert [tuple(pair) for pair in pairs.T.tolist()] == wanted


def test_a_cost_that_is_no_number_is_refused_as_by_the_host():
    tensors, more = predictions((2,), 4)
    tensors[0][0, 0, -1] = float('nan')
    head = build_head()
    BatchedDINOLosses().apply(head)
    with pytest.raises(ValueError, match='invalid numeric'):
        head.loss_by_feat(*tensors, *more)


class OwnHead(DINOHead):
    """Somebody's own head."""


@pytest.mark.parametrize(
    'changes',
    [
        dict(kind=OwnHead),
        dict(loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True)),
        dict(loss_cls=dict(type='FocalLoss', activated=True)),
        dict(loss_bbox=dict(type='BalancedL1Loss')),
        dict(loss_iou=dict(type='CIoULoss')),
        dict(costs=[dict(type='DiceCost')]),
        dict(costs=[dict(type='FocalLossCost', binary_input=True)]),
        dict(costs=[dict(type='IoUCost', iou_mode='iof')]),
        dict(train_cfg=None),
    ],
    ids=str,
)
def test_unusual_heads_keep_their_own_path(changes):
    head = build_head(**changes)
    kind = type(head)
    assert BatchedDINOLosses().apply(head) == 0 and type(head) is kind


def test_another_assigner_keeps_its_path():
    head = build_head()
    head.assigner.__class__ = type('OwnAssigner', (HungarianAssigner,), {})
    assert BatchedDINOLosses().apply(head) == 0


@pytest.fixture(scope='module')
def swappers():
    """The same swapper as it is and accelerated."""
    return build_detector(), build_detector(['BatchedDINOLosses'])


def test_only_the_class_of_the_head_changes(swappers):
    plain, fast = swappers
    assert fast.accelerated == dict(BatchedDINOLosses=1)
    for swapper in (fast, copy.deepcopy(fast)):
        head = swapper.host.bbox_head
        assert type(head) is BatchedDINOHead and isinstance(head, DINOHead)
        assert swapper.state_dict().keys() == plain.state_dict().keys()
    assert BatchedDINOLosses().apply(fast.host) == 0, 'once is enough'


def test_deformable_detr_is_known():
    head = build_head(DeformableDETRHead)
    assert BatchedDINOLosses().apply(head) == 1 and type(head) is BatchedDeformableDETRHead


@pytest.mark.parametrize('counts', [(2, 1, 3, 0), (0, 0, 0, 0), (1, 12, 11, 10)])
def test_steps_of_padded_pictures_are_the_hosts(swappers, counts):
    data = detection_batch(counts, sizes=((64, 48), (40, 64), (64, 64), (56, 32)))
    assert_same_steps(*swappers, data)


def test_a_role_waits_once_whatever_its_pictures():
    """The host waits for each image and layer; launches do not depend on the images either."""

    def counts_of(head, counts):
        given_losses = predictions(counts, 8)
        with SyncCounter() as counter:
            losses_and_gradients(head, *given_losses)
        return counter.reads.total(), counter.writes.total(), counter.launches

    host, head = build_head(), build_head()
    BatchedDINOLosses().apply(head)
    reads, writes, launches = counts_of(host, (2, 3))
    assert reads > 50 and writes > 50
    few, many = counts_of(head, (2, 3)), counts_of(head, (1, 2, 3, 4))
    assert few == many and few[:2] == (1, 2) and few[2] < launches / 4


def test_a_step_waits_once_a_role_for_its_losses(swappers):
    """What else waits are shapes of features, which are the host's matter, and denoising."""
    reads, launches = [], []
    for swapper in swappers:
        with SyncCounter() as counter:
            step(swapper, detection_batch())
        reads.append(counter.reads_in('/dense_heads/', '/assigners/', '/losses/', 'assignment'))
        launches.append(counter.launches)
    assert reads[0] > 80 and reads[1] == 2
    assert launches[1] < 0.7 * launches[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_is_waited_for_by_an_event_alone(monkeypatch):
    """The copy of the costs; all other waits are those of mmcv's focal loss."""
    head = build_head()
    fast = copy.deepcopy(head)
    BatchedDINOLosses().apply(fast)
    tensors, (batch, *more) = predictions((2, 0, 9), 8)
    tensors = [tensor.cuda() for tensor in tensors]
    more = [[instances.to('cuda') for instances in batch], *more]
    wanted, wanted_gradients = losses_and_gradients(head, tensors, more)
    losses_and_gradients(fast, tensors, more)
    waits = []

    def note(message, *_):
        if 'called a synchronizing' in str(message):
            waits.append([f'{frame.name} {frame.filename}' for frame in traceback.extract_stack()])

    with warnings.catch_warnings():
        warnings.simplefilter('always')
        monkeypatch.setattr(warnings, 'showwarning', note)
        torch.cuda.set_sync_debug_mode('warn')
        try:
            found, gradients = losses_and_gradients(fast, tensors, more)
        finally:
            torch.cuda.set_sync_debug_mode('default')
    for stack in waits:
        text = '\n'.join(stack)
        assert 'focal_loss.py' in text or 'backward' in text, text
    assert len(waits) <= 3
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.reshape(()), rtol=1e-5, atol=1e-5)
    for gradient, wanted_gradient in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-5)


def test_processes_share_their_counts_in_one_message(monkeypatch):
    """Two processes of which the other has found nothing."""
    messages = []

    def mean(tensor):
        messages.append(tensor)
        return tensor / 2

    monkeypatch.setattr(normalisers, 'is_distributed', lambda: True)
    monkeypatch.setattr(normalisers, 'reduce_mean', mean)
    head = build_head(sync_cls_avg_factor=True)
    BatchedDINOLosses().apply(head)
    tensors, more = predictions((3, 5), 9)
    shared = head.loss_by_feat(*tensors, *more)
    assert [message.tolist() for message in messages] == [[8, 8, 16, 16]]
    monkeypatch.undo()
    alone = head.loss_by_feat(*tensors, *more)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], 2 * value, rtol=1e-6, atol=0)


def test_a_step_under_autocast_is_finite(swappers):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = step(swappers[1], detection_batch())
    assert all(torch.isfinite(value).all() for value in found.values())
