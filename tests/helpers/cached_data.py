"""Role data sets of the three tasks with a cache, and their samples bit by bit."""

from __future__ import annotations

import mmdet.datasets  # noqa: F401
import mmseg.datasets  # noqa: F401
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS, DefaultScope

from knowswap_mm.data_tools.generators.scenes import STUFF
from knowswap_mm.datasets import RoleDataset, SampleAddress
from knowswap_mm.roles import ROLES
from tests.helpers.segmentation_configs import scenes as segmentation_scenes

CLASSES = dict(old=list('abcde'), learn=['x', 'y'], forget=['b'])
SHAPES, NEW = ('disc', 'square', 'star', 'bar'), ('cross', 'arrow')


@TRANSFORMS.register_module()
class Halve(BaseTransform):
    """A step of a user: deterministic, and of no host."""

    def transform(self, results):
        results['img'] = results['img'] // 2
        return results


@TRANSFORMS.register_module()
class AddNoise(BaseTransform):
    def transform(self, results):
        results['img'] = results['img'] + np.random.randint(2)
        return results


@TRANSFORMS.register_module()
class AddModule(BaseTransform):
    def transform(self, results):
        results['thing'] = object()
        return results


@TRANSFORMS.register_module()
class WriteIntoAll(BaseTransform):
    """A later step that writes into what it gets, as some do."""

    def transform(self, results):
        results['img'][:2] = np.random.randint(255)
        for name in ('gt_bboxes_labels', 'gt_seg_map'):
            if name in results:
                results[name][:1] = 0
        if 'gt_bboxes' in results:
            results['gt_bboxes'].tensor[:, 0] = 1
        return results


def classification(root, host, cache, *steps):
    steps = steps or (
        dict(type='mmpretrain.Resize', scale=(12, 14)),
        dict(type='mmpretrain.RandomCrop', crop_size=8),
        dict(type='mmpretrain.RandomFlip', prob=0.5),
        dict(type='WriteIntoAll'),
    )
    dataset = host(root / 'train', *steps)
    roles = {role: dict(dataset=dataset) for role in ROLES}
    return RoleDataset(roles, CLASSES, cache=cache)


def detection(root, cache):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='Resize', scale=(40, 30), keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='WriteIntoAll'),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackDetInputs'),
    ]
    roles = {
        role: dict(
            mixed='keep',
            cache_dir=str(root / 'cache'),
            dataset=dict(
                type='mmdet.CocoDataset',
                data_root=str(root / ('new' if role == 'learn' else 'old')) + '/',
                ann_file='annotations/instances_train.json',
                data_prefix=dict(img='train/'),
                pipeline=pipeline,
            ),
        )
        for role in ROLES
    }
    classes = dict(old=list(SHAPES), learn=list(NEW), forget=['star'])
    with DefaultScope.overwrite_default_scope('mmdet'):
        return RoleDataset(roles, classes, view='knowswap_mm.CocoRoleView', cache=cache)


def segmentation(root, cache):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='Resize', scale=(40, 40)),
        dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='WriteIntoAll'),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackSegInputs'),
    ]
    roles = {
        role: dict(
            cache_dir=str(root / 'cache'),
            dataset=segmentation_scenes(root, role, 'train', pipeline, False),
        )
        for role in ROLES
    }
    for role, options in roles.items():
        names = NEW if role == 'learn' else SHAPES
        options['dataset']['metainfo'] = dict(classes=[*names, *STUFF])
    classes = dict(old=[*SHAPES, *STUFF], learn=list(NEW), forget=['star'])
    with DefaultScope.overwrite_default_scope('mmseg'):
        return RoleDataset(roles, classes, view='knowswap_mm.SemanticRoleView', cache=cache)


def addresses(dataset, epochs=1):
    """Each sample once an epoch; a learned one also plays retain. Each draw is another one."""
    found = [
        SampleAddress(role, role, index, draw * 1000 + index, 0)
        for draw in range(epochs)
        for role, size in dataset.role_sizes.items()
        for index in range(size)
    ]
    return [*found, SampleAddress('retain', 'learn', 1, 77, 1)]


def frozen(value):
    """A sample as plain values with every bit of it."""
    if hasattr(value, 'all_items'):
        return {name: frozen(each) for name, each in value.all_items()}
    if hasattr(value, 'masks'):  # polygons
        return [value.height, value.width, frozen(value.masks)]
    if hasattr(value, 'tensor'):
        value = value.tensor
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, dict):
        return {name: frozen(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(each) for each in value]
    return repr(value)


def read(dataset, some):
    return [frozen(dataset[address]) for address in some]


def kept_pack(dataset):
    return next(iter(dataset.views.values())).cached_pipeline.pack
