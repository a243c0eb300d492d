"""A shipped host config made small, and images with annotations for it."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData

from knowswap_mm.models.host_config import without_pretrained

NEW, BOXES = 2, 3
_MOST = dict(num_queries=20, sos_token_num=20, max_per_img=20, max_per_image=20)


def small_config(library: str, config: str, options: dict[str, Any]) -> dict[str, Any]:
    """The model of a shipped config, with few blocks and queries."""
    package = import_module(library)
    folder = f'{package.__path__[0]}/.mim/configs'
    cfg = Config.fromfile(f'{folder}/{config}')
    model = cfg.model
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
        if library == 'mmpretrain':
            model.data_preprocessor.setdefault('type', 'ClsDataPreprocessor')
    holder = Config(dict(model=model))
    for key, value in {**options.get('changes', {}), **options.get('needs', {})}.items():
        value = value.replace('CONFIGS', folder) if isinstance(value, str) else value
        holder.merge_from_dict({f'model.{key}': value})
    model = holder.model.to_dict()
    if library == 'mmseg':
        model['data_preprocessor']['size'] = (options['size'],) * 2
        model['data_preprocessor'].pop('size_divisor', None)
        model['test_cfg'] = dict(mode='whole')
    for augment in model.get('data_preprocessor', {}).get('batch_augments') or []:
        if isinstance(augment, dict) and augment.get('type') == 'BatchFixedSizePad':
            augment['size'] = (options['size'],) * 2
    return without_pretrained(_shrunk(model))


def _shrunk(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_shrunk(each) for each in value)
    if not isinstance(value, dict):
        return value
    part = {key: _shrunk(each) for key, each in value.items()}
    layers, outputs = part.get('num_layers'), part.get('out_indices')
    if isinstance(layers, int) and layers > 4 and 'deep_supervision_idxs' not in part:
        if isinstance(outputs, (list, tuple)) and len(outputs) > 1 and 'embed_dims' in part:
            part['num_layers'] = len(outputs)
            part['out_indices'] = type(outputs)(range(len(outputs)))
        elif not isinstance(outputs, (list, tuple)) and 'in_channels' not in part:
            part['num_layers'] = 2
    for name in ('depths', 'num_layers'):
        if isinstance(part.get(name), (list, tuple)):
            part[name] = type(part[name])(min(each, 1) for each in part[name])
    for name, most in _MOST.items():
        if isinstance(part.get(name), int):
            part[name] = min(part[name], most)
    if isinstance(part.get('arch'), str) and (arch := _small_arch(part)):
        part['arch'] = arch
    return part


def _small_arch(part: dict[str, Any]) -> dict[str, Any] | None:
    """The settings behind the name of an architecture, with one block a stage, if they fit."""
    kind = MODELS.get(part['type'])
    zoo = getattr(kind, 'arch_zoo', None) or getattr(kind, 'arch_settings', None) or {}
    named = {name: each for names, each in zoo.items() for name in _names(names)}
    small = copy.deepcopy(named.get(part['arch']))
    if not isinstance(small, dict):
        return None
    if isinstance(small.get('num_layers'), int) and not isinstance(
        part.get('out_indices'), (list, tuple)
    ):
        small['num_layers'] = 2
    if isinstance(small.get('depths'), (list, tuple)):
        small['depths'] = [min(each, 1) for each in small['depths']]
    try:
        MODELS.build(ConfigDict(dict(copy.deepcopy(part), arch=small)))
    except Exception:
        return None
    return small


def _names(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def sample(library: str, options: dict[str, Any], old: int, number: int) -> dict[str, Any]:
    """One image and its annotations; the first two are of the role `learn`."""
    rng, size = np.random.default_rng(number), options['size']
    low, high = (old, old + NEW) if number < 2 else (0, old)
    role = dict(role='learn' if number < 2 else 'retain', phase=0, sample_index=number)
    image = torch.from_numpy(rng.integers(0, 255, (3, size, size), dtype=np.uint8))
    shape = dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
    shape |= dict(pad_shape=(size, size), batch_input_shape=(size, size), img_id=number)
    if library == 'mmpretrain':
        from mmpretrain.structures import DataSample

        found = DataSample(metainfo=role | shape)
        found.set_gt_label([low] if options.get('data') == 'multi' else low)
        return dict(inputs=image, data_samples=found)
    maps = torch.from_numpy(rng.integers(low, high, (1, size // 16, size // 16)))
    maps = maps.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, :size, :size]
    if library == 'mmseg':
        from mmseg.structures import SegDataSample

        found = SegDataSample(metainfo=role | shape)
        found.gt_sem_seg = PixelData(data=maps)
        return dict(inputs=image, data_samples=found)
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    found = DetDataSample(metainfo=role | shape | dict(flip=False, flip_direction=None))
    corner = rng.integers(0, size // 2, (BOXES, 2))
    boxes = np.concatenate([corner, corner + rng.integers(16, size // 2, (BOXES, 2))], 1)
    given = InstanceData(labels=torch.from_numpy(rng.integers(low, high, BOXES)))
    given.bboxes = HorizontalBoxes(torch.from_numpy(boxes).float())
    if options.get('data') in ('masks', 'panoptic'):
        masks = np.zeros((BOXES, size, size), dtype=np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
            mask[top:bottom, left:right] = 1
        given.masks = BitmapMasks(masks, size, size)
    found.gt_instances, found.ignored_instances = (
        given,
        InstanceData(
            bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
        ),
    )
    if options.get('data') == 'panoptic':
        found.gt_sem_seg = PixelData(sem_seg=torch.full((1, size, size), 255))
    return dict(inputs=image, data_samples=found)
