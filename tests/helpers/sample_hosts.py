"""Small swappers of every kind of host that a reader of samples reads, with a batch for each."""

from __future__ import annotations

import copy
from typing import Any

import mmdet.models
import mmseg.models
import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

import knowswap_mm.models.heads  # noqa: F401  registers one of them
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.schedule import SwapSchedule
from tests.helpers import accelerated_steps, segmentation_configs
from tests.helpers.row_hosts import CHANNELS, SWIN
from tests.helpers.tiny_hosts import OLD, batch, vit_host

SMALL = dict(
    feedforward_channels=16,
    num_heads=2,
    num_layers=2,
    num_queries=6,
    attn_drop=0.0,
    ffn_drop=0.0,
    dropout=0.0,
)
CLASSES, SIZE = 6, 64
WEIGHTS = dict(forget=0.5, retain=1.0)


def shrink(config: Any, width: int = 16) -> Any:
    """Replace the sizes of a shipped config, in place."""
    small = SMALL | dict(embed_dims=width, feat_channels=width, num_feats=width // 2)
    for key, value in list(config.items()) if isinstance(config, dict) else ():
        if key in small:
            config[key] = small[key]
        shrink(value, width)
    return config


def detr(path: str, maps: int = 1, width: int = 16) -> ConfigDict:
    """A shipped relative of DETR, small, on the last ``maps`` maps of a small Swin."""
    config = Config.fromfile(f'{mmdet.__path__[0]}/.mim/configs/{path}').model
    shrink(config, width)
    config.backbone = dict(SWIN, out_indices=tuple(range(4 - maps, 4)))
    config.neck.update(in_channels=CHANNELS[4 - maps :], out_channels=width)
    if config.neck.get('norm_cfg'):
        config.neck.norm_cfg = dict(type='GN', num_groups=4)
    config.bbox_head.update(num_classes=CLASSES, embed_dims=width)
    return config


def upernet(**head: Any) -> ConfigDict:
    """A UPerNet with an auxiliary head, on the Swin of our small configs."""
    host = dict(segmentation_configs.host_config(CLASSES))
    shared = dict(in_index=[0, 1, 2], channels=8, num_classes=CLASSES, norm_cfg=dict(type='BN'))
    shared |= dict(in_channels=[16, 32, 64], align_corners=False)
    host['decode_head'] = dict(shared, type='UPerHead', pool_scales=(1, 2), **head)
    more = dict(type='FCNHead', num_convs=1, concat_input=False, in_channels=64, in_index=2)
    host['auxiliary_head'] = shared | more
    return ConfigDict(host)


def maskformer() -> ConfigDict:
    """mmseg's MaskFormer, which classifies the queries of all layers at once."""
    path = 'configs/maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py'
    head = shrink(Config.fromfile(f'{mmseg.__path__[0]}/.mim/{path}').model.decode_head)
    head.update(in_channels=[16, 32, 64], in_index=[0, 1, 2], out_channels=16)
    head.update(num_classes=CLASSES, enforce_decoder_input_project=True)
    head.pixel_decoder.norm_cfg = dict(type='GN', num_groups=4)
    head.loss_cls.class_weight = [1.0] * CLASSES + [0.1]
    return ConfigDict(dict(segmentation_configs.host_config(CLASSES), decode_head=head))


def instances() -> ConfigDict:
    """mmdet's Mask2Former."""
    segmentor = segmentation_configs.host_config(CLASSES)
    head = segmentor.decode_head
    train_cfg = head.pop('train_cfg')
    for key in ('num_classes', 'align_corners', 'type'):
        head.pop(key)
    counts = dict(num_things_classes=CLASSES, num_stuff_classes=0)
    return ConfigDict(
        type='Mask2Former',
        data_preprocessor=dict(type='DetDataPreprocessor', pad_mask=True),
        backbone=segmentor.backbone,
        panoptic_head=dict(head, type='Mask2FormerHead', **counts),
        panoptic_fusion_head=dict(
            type='MaskFormerFusionHead', loss_panoptic=None, init_cfg=None, **counts
        ),
        train_cfg=train_cfg,
        test_cfg=dict(panoptic_on=False, semantic_on=False, instance_on=True),
    )


def labelled_points() -> ConfigDict:
    """Our Mask2Former that leaves unlabelled pixels alone."""
    return segmentation_configs.host_config(CLASSES, 'knowswap_mm.LabelledPointsMask2FormerHead')


def dino(queries: int = 10) -> dict[str, Any]:
    """The small DINO; its denoising has 40 queries with the retained images of this file."""
    from tests.helpers.detection_configs import host_config

    return dict(host_config(CLASSES), num_queries=queries)


_DEFORMABLE = 'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py'
_CONDITIONAL = 'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py'
#: Scope and maker of each host.
HOSTS = dict(
    vit=('mmpretrain', vit_host),
    upernet=('mmseg', upernet),
    dino=('mmdet', dino),
    detr=('mmdet', lambda: detr('detr/detr_r50_8xb2-150e_coco.py')),
    conditional_detr=('mmdet', lambda: detr(_CONDITIONAL, width=256)),
    dab_detr=('mmdet', lambda: detr('dab_detr/dab-detr_r50_8xb2-50e_coco.py')),
    deformable_detr=('mmdet', lambda: detr(_DEFORMABLE, 3, width=256)),
    mask2former=('mmseg', lambda: segmentation_configs.host_config(CLASSES)),
    labelled_points=('mmseg', labelled_points),
    maskformer=('mmseg', maskformer),
    instances=('mmdet', instances),
)
QUERIES = [name for name in HOSTS if name not in ('vit', 'upernet')]


_built: dict[str, KnowledgeSwapper] = {}


def build(name: str, host: Any = None, **settings: Any) -> KnowledgeSwapper:
    """A copy of what :func:`build_anew` gives for the same arguments."""
    key = repr((name, host, settings))
    if key not in _built:
        _built[key] = build_anew(name, host, **settings)
    return copy.deepcopy(_built[key])


def build_anew(
    name: str, host: Any = None, accelerations: Any = (), **settings: Any
) -> KnowledgeSwapper:
    """A swapper in training mode, in a forget phase with bound 9; equal weights every time."""
    scope, make = HOSTS[name]
    old = OLD if scope == 'mmpretrain' else CLASSES - 2
    head = dict(old_classes=old)
    if name == 'instances':
        head['count_keys'] = ('num_things_classes',)
    defaults = dict(lora=dict(rank=4, alpha=4), head=head, fuse='always')
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(scope):
        swapper = KnowledgeSwapper(
            make() if host is None else host,
            accelerations=list(accelerations),
            **(defaults | settings),
        )
    phase = dict(kind='forget', iters=5, bound=9.0, weights=WEIGHTS)
    swapper.schedule = SwapSchedule.from_config(
        dict(phases=[phase]), dict(learn=8, forget=8, retain=8), 4
    )
    for parameter in swapper.parameters():  # adapters, and class layers that begin with zeros
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return swapper.train()


def batch_for(name: str, swapper: KnowledgeSwapper, counts=(1, 2, 2, 4)):
    """Images and samples by role, preprocessed, with numbers of objects in each image.

    The first half of the images is to be forgotten. A classifier has four images a role.
    """
    scope, _ = HOSTS[name]
    if scope == 'mmpretrain':
        return batch(('forget', 'retain'))
    make = dict(mmdet='detection_batch', mmseg='semantic_batch')[scope]
    data = getattr(accelerated_steps, make)(counts)
    for sample in data['data_samples']:
        if sample.role == 'learn':
            sample.set_metainfo(dict(role='forget'))
        if name == 'instances':
            sample.gt_instances.masks = _masks(sample.gt_instances.bboxes)
    data = swapper.data_preprocessor(copy.deepcopy(data), training=True)
    return data['inputs'], data['data_samples']


def _masks(boxes: torch.Tensor) -> BitmapMasks:
    """Masks that fill boxes."""
    y, x = np.mgrid[:SIZE, :SIZE]
    parts = [(x >= a) & (x < c) & (y >= b) & (y < d) for a, b, c, d in boxes.tolist()]
    return BitmapMasks(np.array(parts, np.uint8).reshape(-1, SIZE, SIZE), SIZE, SIZE)
