"""The swapper on a segmentor: whole host losses, gradients, rows, points of labelled pixels."""

import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.models.heads import sample_labelled, sample_uncertain
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.segmentation_configs import NEW, OLD, SIZE, host_config, swapper_config

PHASES = [
    dict(kind='learn', iters=5, weights=dict(learn=0.9, retain=1.0, sparsity=0.01)),
    dict(kind='forget', iters=5, weights=dict(retain=1.0, forget=0.2, sparsity=0.01), bound=115.0),
]
ROLES = [('learn', 'retain'), ('forget', 'retain')]
LABELLED = 'knowswap_mm.LabelledPointsMask2FormerHead'


@pytest.fixture(autouse=True)
def scope():
    import knowswap_mm.models.heads  # noqa: F401  as custom_imports of a config does

    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def build(checkpoint=None, **settings):
    """A swapper with its schedule and adapters that act."""
    torch.manual_seed(1)
    swapper = MODELS.build(swapper_config(**settings))
    swapper.schedule = SwapSchedule.from_config(
        dict(phases=PHASES), dict(learn=8, forget=8, retain=8), 4
    )
    if checkpoint is not None:
        swapper.load_state_dict(state_dict_of(safe_load(checkpoint)))
    for name, parameter in swapper.adapters.items():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return swapper.train()


def batch(phase, unlabelled=True):
    """Two images of each role: a square of one class on background, unlabelled or of another."""
    generator = torch.Generator().manual_seed(phase)
    pictures, samples = [], []
    for number in range(4):
        role = ROLES[phase][number // 2]
        picture = torch.randint(0, 256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        pictures.append(picture)
        sample = SegDataSample(metainfo=dict(role=role, phase=phase, sample_index=number))
        sample.set_metainfo(dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
        label = torch.full((1, SIZE, SIZE), 255 if unlabelled else len(OLD) - 1)
        label[:, 10:40, 20:50] = len(OLD) if role == 'learn' else number
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def step(swapper, data, seed=0):
    """Terms and gradients of one step; the same points each time."""
    data = swapper.data_preprocessor(copy.deepcopy(data), training=True)
    torch.manual_seed(seed)
    terms = swapper(**data, mode='loss')
    total, _ = swapper.parse_losses(terms)
    swapper.zero_grad()
    total.backward()
    gradients = {n: p.grad for n, p in swapper.named_parameters() if p.requires_grad}
    return terms, total, gradients


@pytest.mark.parametrize('head', ['Mask2FormerHead', LABELLED])
@pytest.mark.parametrize('phase', [0, 1])
def test_terms_are_the_whole_host_losses(phase, head):
    swapper = build(host__head=head)
    data = batch(phase)
    terms, total, _ = step(swapper, data)
    ready = swapper.data_preprocessor(copy.deepcopy(data), training=True)
    torch.manual_seed(0)
    by_hand = {}
    for role in ROLES[phase]:
        losses = swapper.host.loss(ready['inputs'][role], ready['data_samples'][role])
        # Two decoder layers and the queries before them: 3 prediction sets of 3 terms.
        assert len(losses) == 9 and all('loss' in name for name in losses)
        by_hand[role] = sum(value.sum() for value in losses.values())
    torch.testing.assert_close(terms['retain/raw'], by_hand['retain'].detach(), rtol=1e-5, atol=0)
    first = by_hand[ROLES[phase][0]]
    weighted = 0.9 * first if phase == 0 else 0.2 * (115.0 - first).clamp(min=0)
    sparsity = sum(
        sum(m.square().sum() for n, m in swapper.adapters.items() if n.startswith(block)).sqrt()
        for block in {name.split('.ffn.')[0] + '.ffn.' for name in swapper.adapters}
    )
    wanted = weighted + by_hand['retain'] + 0.01 * sparsity
    torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)


def test_fused_equals_separate():
    found = [step(build(fuse=fuse), batch(1)) for fuse in ('same_shape', 'never')]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-4)
    for name, gradient in found[0][2].items():
        torch.testing.assert_close(gradient, found[1][2][name], rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize('checkpointing', [False, True])
def test_every_adapter_learns(checkpointing):
    _, _, gradients = step(build(host__with_cp=checkpointing), batch(0))
    for name, gradient in gradients.items():
        if 'lora_' in name:
            assert gradient is not None and gradient.abs().sum() > 0, name


def test_losses_leave_autocast():
    swapper = build()
    data = swapper.data_preprocessor(batch(1), training=True)
    with torch.autocast('cpu', torch.bfloat16):
        terms = swapper(**data, mode='loss')
    assert all(torch.isfinite(value).all() for value in terms.values())
    assert terms['loss_forget'].dtype == torch.float32


def test_new_rows_come_between_old_ones_and_no_object(host):
    """The no-object row stays the last one when the head grows."""
    swapper = build(host)
    loaded = state_dict_of(safe_load(host))['decode_head.cls_embed.weight']
    rows = swapper.host.decode_head.cls_embed.weight
    assert len(rows) == len(OLD) + len(NEW) + 1 and len(loaded) == len(OLD) + 1
    assert torch.equal(rows[: len(OLD)], loaded[:-1]) and torch.equal(rows[-1], loaded[-1])


def heads(classes=5):
    """The host's head and ours with the same weights."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        pair = [MODELS.build(host_config(classes, head)) for head in ('Mask2FormerHead', LABELLED)]
    pair[1].load_state_dict(pair[0].state_dict())
    return [model.decode_head.train() for model in pair]


def head_losses(head, samples):
    torch.manual_seed(3)
    features = [
        torch.randn(len(samples), 16 * 2**i, SIZE // 4 // 2**i, SIZE // 4 // 2**i) for i in range(3)
    ]
    return head.loss(features, samples, None)


@pytest.mark.parametrize('unlabelled', [False, True])
def test_labelled_points_are_the_hosts_where_everything_is_labelled(unlabelled):
    samples = batch(1, unlabelled)['data_samples']
    for sample in samples:
        label = sample.gt_sem_seg.data
        label[label > 4] = 255 if unlabelled else 4
    host, ours = (head_losses(head, samples) for head in heads())
    assert list(sorted(host)) == list(sorted(ours))
    same = [torch.allclose(host[name], ours[name], rtol=1e-5, atol=1e-6) for name in host]
    assert not any(same[1::3]) if unlabelled else all(same)


def test_pictures_without_a_label_have_no_mask_loss():
    samples = batch(1)['data_samples']
    for sample in samples:
        sample.gt_sem_seg.data.fill_(255)
    losses = head_losses(heads()[1], samples)
    assert losses['loss_mask'] == 0 and losses['loss_dice'] == 0 and losses['loss_cls'] > 0


def test_what_masks_say_where_nothing_is_labelled_does_not_matter():
    head = heads()[1]
    samples = batch(1)['data_samples']
    instances, metas = head._seg_data_to_instance_data(samples)
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(4, 10, 6, generator=generator)]
    masks = torch.randn(4, 10, SIZE, SIZE, generator=generator)
    other = masks.clone()
    for number, instance in enumerate(instances):
        blank = ~instance.masks.bool().any(dim=0)
        other[number, :, blank] = 50.0
    found = []
    for each in (masks, other):
        torch.manual_seed(5)
        found.append(head.loss_by_feat(scores, [each], instances, metas))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_points_are_where_labels_are(share):
    torch.manual_seed(0)
    labelled = torch.zeros(20, 30, dtype=torch.bool)
    labelled[: int(20 * share)] = True
    points = sample_labelled(labelled, 3, 200)
    assert points.shape == (3, 200, 2) and points.min() >= 0 and points.max() <= 1
    x, y = (points[..., 0] * 30).long(), (points[..., 1] * 20).long()
    assert labelled[y, x].all() or not share
    assert x.unique().numel() == 30  # all over the width


def test_uncertain_points_are_near_the_boundary():
    torch.manual_seed(0)
    ramp = torch.linspace(-8, 8, 32).expand(2, 32, 32)
    labelled = torch.ones(32, 32, dtype=torch.bool)
    uncertain = sample_uncertain([ramp], [labelled], 60, 3.0, 1.0)
    anywhere = sample_uncertain([ramp], [labelled], 60, 3.0, 0.0)
    distance = [(points[..., 0] - 0.5).abs().mean() for points in (uncertain, anywhere)]
    assert distance[0] < 0.5 * distance[1]


def test_weights_of_the_old_head_are_refused():
    from knowswap_mm.errors import ConfigError

    config = swapper_config()
    config['host']['decode_head']['loss_cls']['class_weight'] = [1.0] * len(OLD) + [0.1]
    with pytest.raises(ConfigError, match=f'{len(OLD) + 1} weights do not fit the enlarged head'):
        MODELS.build(config)
