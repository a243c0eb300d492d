"""Whatever a host's train() freezes, adapters and the rows of the policy train."""

import copy

import mmdet.models  # noqa: F401  registers the hosts
import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models import LinearClsHead, VisionTransformer
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.injector import adapter_parameters, lora_layers
from knowswap_mm.models import FullTrainingSwapper
from knowswap_mm.models.trainable import check_trainable
from tests.helpers.steps import LEARN, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    swin_backbone,
    swin_host,
    trainable,
    vit_host,
)

ADAPTED = dict(lora=dict(rank=2, dropout=0.1))


@MMPRETRAIN.register_module(force=True)
class HeadThatFreezesItself(LinearClsHead):
    def train(self, mode=True):
        super().train(mode)
        self.requires_grad_(False)
        return self


@MMPRETRAIN.register_module(force=True)
class ThawingViT(VisionTransformer):
    """Thaws what should stay as it is."""

    def train(self, mode=True):
        super().train(mode)
        return self.requires_grad_(True)


def frozen_swin(stages):
    return swin_host(backbone=swin_backbone() | dict(frozen_stages=stages))


HOSTS = {
    'swin, a stage': frozen_swin(0),
    'swin, all stages': frozen_swin(1),
    'vit': vit_host(backbone=vit_host()['backbone'] | dict(frozen_stages=2)),
    'thawing': vit_host(backbone=vit_host()['backbone'] | dict(type='mmpretrain.ThawingViT')),
    'head': swin_host(head=swin_host()['head'] | dict(type='mmpretrain.HeadThatFreezesItself')),
}


@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
@pytest.mark.parametrize('name', HOSTS)
def test_the_same_trains_after_train(name, policy):
    head = dict(old_classes=5, policy=policy)
    swapper = build_swapper(HOSTS[name], head=head, **ADAPTED)
    before = set(trainable(swapper))
    assert len(swapper.adapters) <= len(before)
    wanted = swapper.should_train(swapper.schedule.phases[LEARN])
    assert {id(p) for p in wanted.values()} == {id(p) for p in trainable(swapper).values()}
    for mode in (True, False, True):
        swapper.train(mode)
        assert set(trainable(swapper)) == before
        assert {d.training for _, m in lora_layers(swapper) for d in m.lora_dropout.values()} == {
            mode
        }
    optimizer = torch.optim.AdamW(trainable(swapper).values(), lr=0.1)
    start = {name: p.detach().clone() for name, p in swapper.named_parameters()}
    for _ in range(2):
        step(swapper, *batch(['learn', 'retain']))
        optimizer.step()
        swapper.train()
    moved = {n for n, p in swapper.named_parameters() if not torch.equal(p, start[n])}
    assert moved == before


BACKBONES = {
    'mmdet': dict(
        type='mmdet.SwinTransformer', embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1] * 4,
        window_size=2, frozen_stages=2,
    ),
    'mmseg': dict(
        type='mmseg.SwinTransformer', embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1] * 4,
        window_size=2, frozen_stages=2,
    ),
    'mmpretrain': dict(swin_backbone(), frozen_stages=1),
}  # fmt: skip


@pytest.mark.parametrize('library', BACKBONES)
def test_a_backbone_with_adapters_of_its_own(library):
    config = dict(type='knowswap_mm.LoRABackbone', backbone=copy.deepcopy(BACKBONES[library]))
    model = nn.Sequential(MODELS.build(config)).train()
    matrices = adapter_parameters(model)
    assert set(trainable(model)) == set(matrices)
    feature = model(torch.randn(1, 3, 32, 32))[-1]
    (feature * torch.randn(feature.shape)).sum().backward()
    reached = [n for n, p in matrices.items() if p.grad is not None and p.grad.abs().max() > 0]
    assert {n for n in matrices if '.lora_B.' in n} == set(reached)


def full_training(host):
    return FullTrainingSwapper(host, head=dict(old_classes=5))


def test_full_training_leaves_frozen_what_the_config_freezes_but_not_the_rows():
    swapper = full_training(HOSTS['head'] | dict(backbone=frozen_swin(0)['backbone'])).train()
    names = set(trainable(swapper))
    assert {'host.head.fc.weight', 'host.head.fc.bias'} <= names
    assert not any('stages.0.blocks' in name for name in names)
    assert set(swapper.head_rows) == {'head.fc.weight', 'head.fc.bias'}


def optimizer_of(parameters, lr=0.1):
    return torch.optim.AdamW(parameters, lr=lr)


def test_what_should_train_is_checked():
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    wanted = dict(a=a, b=b)
    check_trainable(wanted, optimizer_of([a, b]))
    # A learning rate that a warm-up begins with is no mistake.
    check_trainable(wanted, optimizer_of([dict(params=[a, b], lr=0.0, initial_lr=0.1)]))
    with pytest.raises(ConfigError, match='optim_wrapper.constructor .*did not get b,'):
        check_trainable(wanted, optimizer_of([a]))
    with pytest.raises(ConfigError, match='optimizer.lr = 0: it is the learning rate of a,'):
        check_trainable(wanted, optimizer_of([dict(params=[a], lr=0.0), dict(params=[b])]))
    with pytest.raises(ConfigError, match="model.host = 'a': the host, or a hook, has frozen"):
        a.requires_grad_(False)
        check_trainable(wanted, optimizer_of([a, b]))
