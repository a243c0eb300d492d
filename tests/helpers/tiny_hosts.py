"""Tiny hosts, batches and schedules that several test folders share (see their conftest.py)."""

import copy

import mmpretrain.models  # noqa: F401  registers the hosts
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample

from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.schedule import SwapSchedule

OLD, TOTAL = 5, 8
SIZE = 16


def vit_host(classes=TOTAL, layers=2, **changes):
    """A ViT classifier; `changes` replace fields of the classifier's config."""
    host = dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(
            type='mmpretrain.ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3
        ),
        backbone=vit_backbone(layers),
        neck=None,
        head=dict(
            type='mmpretrain.VisionTransformerClsHead',
            num_classes=classes,
            in_channels=32,
            cal_acc=True,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )
    return host | changes


def vit_backbone(layers=2):
    return dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=32, num_layers=layers, num_heads=2, feedforward_channels=48),
        img_size=SIZE,
        patch_size=8,
    )


def swin_host(classes=TOTAL, **changes):
    """A Swin classifier of two stages with two blocks and one block."""
    host = dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        backbone=swin_backbone(),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=classes,
            in_channels=32,
            cal_acc=True,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )
    return host | changes


def swin_backbone():
    return dict(
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=16, depths=[2, 1], num_heads=[2, 4]),
        img_size=SIZE,
        patch_size=4,
        window_size=2,
        out_indices=(1,),
        drop_path_rate=0.0,
    )


def resnet_host(classes=TOTAL):
    """A host with batch norms and without transformer blocks."""
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        backbone=dict(
            type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8, out_indices=(3,)
        ),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=classes,
            in_channels=64,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )


def dino_host(classes=80):
    """mmdet's shipped DINO with Swin, made small by config values only."""
    import mmdet

    folder = f'{mmdet.__path__[0]}/.mim/configs/dino'
    config = Config.fromfile(f'{folder}/dino-5scale_swin-l_8xb2-12e_coco.py')
    ffn = dict(embed_dims=32, feedforward_channels=16)
    attention = dict(embed_dims=32)
    encoder = dict(self_attn_cfg=attention, ffn_cfg=ffn)
    decoder = dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)
    changes = dict(
        _scope_='mmdet',
        num_queries=4,
        backbone=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1] * 4, window_size=2),
        neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
        encoder=dict(num_layers=2, layer_cfg=encoder),
        decoder=dict(num_layers=3, layer_cfg=decoder),
        positional_encoding=dict(num_feats=16),
        bbox_head=dict(embed_dims=32, num_classes=classes),
    )
    config.merge_from_dict(dict(model=changes))
    config.model.backbone.pop('init_cfg')
    return config.model.to_dict()


@torch.no_grad()
def randomise(model, seed=0):
    """Fill all parameters: the hosts start with heads and biases of zero, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@torch.no_grad()
def randomise_adapters(model, seed=1):
    """Give every B a value, as if the adapter had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if '.lora_B.' in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def build_host(config, seed=0):
    """An ordinary host with random weights, in evaluation mode."""
    return randomise(MODELS.build(copy.deepcopy(config)), seed).eval()


def swap_schedule(**settings):
    """One phase of each kind, batches of 12."""
    phases = [
        dict(kind='learn', iters=2, weights=dict(learn=0.9, retain=0.5, sparsity=0.01)),
        dict(kind='forget', iters=2, weights=dict(retain=1.0, forget=0.2), bound=105.0),
        dict(kind='joint', iters=2, weights=dict(learn=1.0, retain=1.0, forget=0.2), bound=105.0),
        dict(kind='expand', iters=2),
    ]
    sizes = dict(learn=30, forget=30, retain=30)
    return SwapSchedule.from_config(dict(phases=phases) | settings, sizes, 12)


def plain_config(host, classes):
    """The same host without adapters of its own and with another number of classes."""
    host = copy.deepcopy(host)
    host['head']['num_classes'] = classes
    if host['backbone']['type'] == 'knowswap_mm.LoRABackbone':
        host['backbone'] = host['backbone']['backbone']
    return host


def new_swapper(host=None, seed=0, **settings):
    """A swapper with a schedule and the weights that its own initialisation gave."""
    torch.manual_seed(seed)
    head = dict(old_classes=OLD, policy='frozen', new_rows_init='xavier')
    settings = dict(lora=dict(), head=head) | settings
    swapper = KnowledgeSwapper(host or vit_host(), **settings)
    swapper.schedule = swap_schedule()
    return swapper


def build_swapper(host=None, seed=0, **settings):
    """A swapper into which the weights of an ordinary host with the old classes were loaded."""
    host = host or vit_host()
    swapper = new_swapper(host, seed, **settings)
    plain = build_host(plain_config(host, swapper.class_rows.old), seed)
    swapper.load_state_dict(plain.state_dict())
    return swapper


def batch(roles, phase=0, size=SIZE, count=4, seed=0, labels=None):
    """Images and samples by role, as the data preprocessor gives them."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = {}, {}
    for role in roles:
        low, high = (OLD, TOTAL) if role == 'learn' else (0, OLD)
        inputs[role] = torch.randn(count, 3, size, size, generator=generator)
        chosen = torch.randint(low, high, (count,), generator=generator)
        samples[role] = [
            DataSample(metainfo=dict(role=role, phase=phase, sample_index=i)).set_gt_label(label)
            for i, label in enumerate(chosen.tolist())
        ]
    return inputs, samples


def trainable(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def snapshot(model):
    """A copy of the whole state, to compare bit by bit."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before, after):
    """Keys whose tensors differ in any bit."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}
