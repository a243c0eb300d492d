"""Samples of classifiers against logits computed apart."""

import copy
import math

import pytest
import torch
from mmengine.registry import DefaultScope

from knowswap_mm.models import KnowledgeSwapper
from tests.helpers.row_hosts import arcface
from tests.helpers.sample_hosts import batch_for, build
from tests.helpers.tiny_hosts import TOTAL, swin_host, vit_host


def with_loss(**loss):
    host = vit_host()
    host['head'] = dict(host['head'], loss=dict(loss), cal_acc=False)
    return host


SOFTMAX = dict(
    plain=vit_host(),
    swin=swin_host(),
    smoothed=with_loss(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.3),
    weighted=with_loss(
        type='mmpretrain.CrossEntropyLoss', loss_weight=3.0, class_weight=list(range(1, TOTAL + 1))
    ),
)
SIGMOID = dict(
    smoothed=with_loss(
        type='mmpretrain.LabelSmoothLoss',
        label_smooth_val=0.1,
        mode='multi_label',
        use_sigmoid=True,
    ),
)


def read(host):
    swapper = build('vit', host)
    inputs, samples = batch_for('vit', swapper)
    with torch.no_grad():
        found = swapper.sample_losses(inputs['forget'], samples['forget'])
    labels = [int(sample.gt_label) for sample in samples['forget']]
    features = swapper.host.extract_feat(inputs['forget'])
    logits = swapper.host.head(features).detach()
    assert found.images.tolist() == [0, 1, 2, 3] and found.layers.tolist() == [0] * 4
    assert found.labels.tolist() == labels
    assert torch.equal(found.features, swapper.host.head.pre_logits(features))
    assert swapper.samples.chance == math.log(TOTAL)
    return found, logits.double(), labels


@pytest.mark.parametrize('name', SOFTMAX)
def test_nats_of_a_softmax(name):
    found, logits, labels = read(SOFTMAX[name])
    for nats, row, label in zip(found.nats, logits, labels, strict=True):
        by_hand = math.log(sum(math.exp(value) for value in row)) - float(row[label])
        assert float(nats) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize('name', SIGMOID)
def test_nats_of_a_sigmoid(name):
    found, logits, labels = read(SIGMOID[name])
    for nats, row, label in zip(found.nats, logits, labels, strict=True):
        by_hand = math.log(1 + math.exp(-float(row[label])))
        assert float(nats) == pytest.approx(by_hand, rel=1e-5)


def test_a_mixed_label_counts_as_its_larger_part():
    swapper = build('vit')
    inputs, samples = batch_for('vit', swapper)
    wanted = swapper.sample_losses(inputs['forget'], samples['forget'])
    swapper = build('vit', with_loss(type='mmpretrain.CrossEntropyLoss', use_soft=True))
    mixed = copy.deepcopy(samples['forget'])
    for sample in mixed:
        score = torch.full((TOTAL,), 0.4 / TOTAL)
        score[sample.gt_label] += 0.6
        sample.set_gt_score(score)
    found = swapper.sample_losses(inputs['forget'], mixed)
    assert torch.equal(found.labels, wanted.labels) and torch.equal(found.nats, wanted.nats)


@pytest.mark.parametrize(
    'host',
    [
        arcface(TOTAL),
        with_loss(type='mmpretrain.AsymmetricLoss'),
        dict(vit_host(), head=dict(type='mmpretrain.MultiLabelLinearClsHead', num_classes=TOTAL)),
    ],
    ids=['margins', 'another loss', 'several labels'],
)
def test_heads_that_are_none_of_these(host):
    host = copy.deepcopy(host)
    host['head'].setdefault('in_channels', 32)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        swapper = KnowledgeSwapper(host, lora=dict())
    assert swapper.samples is None
