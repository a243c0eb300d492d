"""Samples of a dense segmentor against a loop over pixels."""

import math

import pytest
import torch
from torch.nn.functional import interpolate

from knowswap_mm.models.samples.dense import _means
from tests.helpers.sample_hosts import CLASSES, batch_for, build, upernet

SIGMOID = dict(type='CrossEntropyLoss', use_sigmoid=True)
HOSTS = dict(
    softmax=upernet(),
    sigmoid=upernet(loss_decode=SIGMOID),
    second_of_two=upernet(
        loss_decode=[dict(type='DiceLoss'), dict(type='CrossEntropyLoss', loss_name='loss_two')]
    ),
)


@pytest.mark.parametrize('name', HOSTS)
def test_nats_of_regions(name):
    swapper = build('upernet', HOSTS[name]).eval()  # no dropout before the class layer
    inputs, samples = batch_for('upernet', swapper)
    with torch.no_grad():
        found = swapper.sample_losses(inputs['retain'], samples['retain'])
        logits = swapper.host.decode_head(swapper.host.extract_feat(inputs['retain']))
    logits = interpolate(logits, scale_factor=4, mode='bilinear').double()
    wanted = []
    for number, sample in enumerate(samples['retain']):
        label = sample.gt_sem_seg.data[0]
        for each in sorted(set(label.flatten().tolist()) - {255}):
            values = logits[number][:, label == each]
            if name == 'sigmoid':
                nats = (1 + (-values[each]).exp()).log()
            else:
                nats = values.exp().sum(0).log() - values[each]
            wanted.append((number, each, float(nats.mean())))
    assert len(wanted) == 6
    assert found.images.tolist() == [image for image, _, _ in wanted]
    assert found.labels.tolist() == [label for _, label, _ in wanted]
    assert found.nats.tolist() == pytest.approx([nats for *_, nats in wanted], rel=1e-4)
    assert found.layers.tolist() == [0] * 6 and found.nats.dtype == torch.float32
    assert swapper.samples.chance == math.log(CLASSES)


def test_features_are_means_over_regions():
    swapper = build('upernet').eval()
    inputs, samples = batch_for('upernet', swapper)
    seen = []
    layer = swapper.host.decode_head.conv_seg
    handle = layer.register_forward_hook(lambda _, args, output: seen.append(args[0]))
    found = swapper.sample_losses(inputs['retain'], samples['retain'])
    handle.remove()
    seen = interpolate(seen[0], scale_factor=4, mode='nearest')  # each pixel reads its cell
    for number in range(len(found)):
        image = int(found.images[number])
        region = samples['retain'][image].gt_sem_seg.data[0] == int(found.labels[number])
        by_hand = seen[image][:, region].mean(1)
        torch.testing.assert_close(found.features[number], by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [(3, 5), (8, 8), (13, 7)])
def test_no_region_is_lost_at_any_resolution(size):
    seen = torch.rand(1, 2, *size)
    maps = torch.zeros(1, 8, 8, dtype=torch.long)
    maps[0, 7, 7], maps[0, 0, 0] = 1, 2
    labelled = maps != 2
    present = torch.tensor([[True, True, False]])
    (means,) = _means([seen], maps, labelled, present)
    assert means.shape == (2, 2) and means.isfinite().all()
    row, column = (15 * n // 16 for n in size)
    torch.testing.assert_close(means[1], seen[0, :, row, column])


def test_images_without_a_label_are_no_samples():
    swapper = build('upernet')
    inputs, samples = batch_for('upernet', swapper, (0, 0, 2, 4))
    found = swapper.sample_losses(inputs['forget'], samples['forget'])
    assert len(found) == 0 and found.features.shape == (0, 8)


def test_a_head_without_a_cross_entropy_is_none_of_these():
    assert build('upernet', upernet(loss_decode=dict(type='DiceLoss'))).samples is None
