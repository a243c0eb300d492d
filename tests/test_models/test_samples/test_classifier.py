"""Samples of classifiers against logits computed apart."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import CrossEntropyLoss

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.models.class_rows import ClassTensor
from knowswap_mm.models.samples import ClassifierReader, reader_of
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


def test_a_host_without_a_head_has_its_loss_itself():
    """As mmpretrain's wrappers of timm and Hugging Face have it."""

    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
            self.loss_module = CrossEntropyLoss()

        def loss(self, inputs, samples):
            return dict(loss=self.loss_module(self.model(inputs), samples))

    host, rows = Wrapper(), SimpleNamespace(tensors=[ClassTensor('model.1.weight', RowLayout())])
    reader = reader_of(host, rows)
    assert isinstance(reader, ClassifierReader) and reader.chance == math.log(3)
    inputs, labels = torch.rand(2, 3, 2, 2), torch.tensor([2, 0])
    losses, found = reader.run(host, inputs, labels)
    torch.testing.assert_close(found.nats.mean(), losses['loss'])
    assert torch.equal(found.features, inputs.flatten(1)) and torch.equal(found.labels, labels)
    host.loss = lambda inputs, samples: dict()
    with pytest.raises(ConfigError, match=r'model\.host.*calls its loss 0 times'):
        reader.run(host, inputs, labels)
