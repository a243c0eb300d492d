"""Classifiers without a config of mmpretrain: the host is written from the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from torch import Tensor

from knowswap_mm.converters import TABLES, kind_of
from knowswap_mm.converters.tables.vit import side_of
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.checkpoints import read_weights, safe_save, state_dict_of
from knowswap_mm.io.text_files import read_json
from knowswap_mm.own import backbones
from knowswap_mm.own.host import TASKS, Host, load_module, read_checkpoint

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_HALF = ([0.5] * 3, [0.5] * 3)
_CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
#: Heads of the attention have 64 channels in these.
_TIMM = re.compile(
    r'(vit|deit|deit3)_(tiny|small|medium|base|large)(_distilled)?_patch(\d+)_'
    r'(\d+|dinov2)(\..+)?'
)
_DINOV2 = re.compile(r'dinov2-(small|base|large)')
_TEST_SIZE = 224
#: Kinds of Hugging Face by ``model_type``: the table, epsilon of the norms, mean and deviation.
_HUGGING_FACE = {
    'vit': ('huggingface-vit', 1e-12, _HALF),
    'vit_mae': ('huggingface-vit', 1e-12, _IMAGENET),
    'deit': ('huggingface-deit', 1e-12, _IMAGENET),
    'dinov2': ('huggingface-dinov2', 1e-6, _IMAGENET),
    'dinov2_with_registers': ('huggingface-dinov2', 1e-6, _IMAGENET),
    'clip': ('huggingface-clip', 1e-5, _CLIP),
    'clip_vision_model': ('huggingface-clip', 1e-5, _CLIP),
    'beit': ('huggingface-beit', 1e-12, _HALF),
    'swin': ('huggingface-swin', 1e-5, _IMAGENET),
    'swinv2': ('huggingface-swinv2', 1e-5, _IMAGENET),
}
KNOWN = (
    'timm:NAME of a plain ViT or DeiT (vit_small_patch16_224, deit_base_patch16_224, '
    'deit3_small_patch16_224, ...), hf:FOLDER with a ViT, DeiT, CLIP, BEiT, Swin or Swin v2 for '
    'image classification, and dinov2-small, -base or -large with a checkpoint of mmpretrain that '
    'has a head'
)


@dataclass
class _Found:
    """What weights tell: those of the host, its backbone, how images are shown, class names."""

    state: dict[str, Tensor]
    backbone: dict[str, Any]
    shown: dict[str, Any]
    names: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def is_foreign(model: str) -> bool:
    """Whether a name stands for a kind of model, and not for a config file."""
    return ':' in model.split('/')[0] or model.startswith('dinov2') and not Path(model).exists()


def read_foreign(model: str, checkpoint: str | None, names: list[str] | None, folder: Path) -> Host:
    """Write a host from its weights, which are converted into the folder of the run.

    Args:
        model (str): ``timm:NAME``, ``hf:FOLDER`` or ``dinov2-small``.
        checkpoint (str | None): The weights; a folder of Hugging Face has its own.
        names (list[str] | None): Names of the classes, where the weights have none.
        folder (Path): Folder of the run.

    Raises:
        ConfigError: If the kind is not known, or something is missing. Nothing is fetched.
        CheckpointError: If the weights are of another kind.
    """
    source, _, rest = model.partition(':')
    if _DINOV2.fullmatch(model):
        found = _dinov2(_needed(model, checkpoint))
    elif source == 'timm' and _TIMM.fullmatch(rest):
        found = _timm(rest, _needed(model, checkpoint))
    elif source == 'hf':
        found = _hugging_face(Path(rest), checkpoint)
    else:
        raise ConfigError('--model', model, 'is no kind that is known', f'give {KNOWN}')
    state, backbone, shown = found.state, found.backbone, found.shown
    names = names or found.names
    head = next((key for key in state if key.startswith('head.') and key.endswith('.weight')), None)
    if head is None:
        fix = 'train a head first, as configs/real/pretrain/vit_dinov2-s_grocery_pretrain.py does'
        raise ConfigError('--model', model, 'its weights have no head, and so no classes', fix)
    rows, width = state[head].shape
    if names is None or len(names) != rows:
        has = f', and {len(names)} names' if names else ', and no names'
        fix = '--classes FILE with one name a line, in the order of the rows'
        raise ConfigError('--classes', None, f'the head has {rows} rows{has}', fix)
    kind = 'VisionTransformerClsHead' if head.startswith('head.layers') else 'LinearClsHead'
    if 'head.layers.head_dist.weight' in state:
        kind = 'DeiTClsHead'
    elif 'backbone.dist_token' in state:
        problem = f'{model} has a distilled DeiT with one head, and that of the host reads both'
        raise CheckpointError(f'{problem} tokens. Fix: take one with a head for each token.')
    is_map = backbone['type'].startswith('Swin') or backbone.get('out_type') == 'featmap'
    host = Host(
        name=Path(rest or model).name,
        task=TASKS['mmpretrain'],
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(
                mean=[round(255 * each, 3) for each in shown['mean']],
                std=[round(255 * each, 3) for each in shown['std']],
                to_rgb=True,
            ),
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling') if is_map else None,
            head=dict(
                type=kind,
                num_classes=rows,
                in_channels=width,
                loss=dict(type='CrossEntropyLoss'),
            ),
        ),
        checkpoint=str(folder / 'data' / 'host.pth'),
        classes=list(names),
        pipelines=_pipelines(shown),
        notes=[f'The config of the host was written from the weights of {model}.', *found.notes],
    )
    sides = side_of(state), shown['size'] // backbone['patch_size']
    if sides[0] and sides[0] != sides[1]:
        told = 'Position embeddings of {0} x {0} patches are resized to {1} x {1}'.format(*sides)
        host.notes.append(f'{told}, as images are shown at {shown["size"]}.')
    weights = dict(state_dict=state, meta=dict(dataset_meta=dict(classes=list(names))))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        load_module(host, weights)
    safe_save(weights, Path(host.checkpoint))
    return host


def _needed(model: str, checkpoint: str | None) -> str:
    if checkpoint is None:
        fix = 'download the file yourself and give it with --checkpoint FILE'
        raise ConfigError('--checkpoint', None, f'{model} needs it; nothing is fetched', fix)
    return checkpoint


def _dinov2(checkpoint: str) -> _Found:
    """A classifier that mmpretrain trained on DINOv2."""
    weights = read_checkpoint(checkpoint)
    state = state_dict_of(weights)
    if 'backbone.cls_token' not in state:  # of Hugging Face, timm or Meta: a backbone
        kind = 'timm-vit' if kind_of(state) == 'timm-vit' else 'huggingface-dinov2'
        state = TABLES[kind].convert(state).state
    stored = ((weights.get('meta') or {}).get('dataset_meta') or {}).get('classes')
    mean, std = _IMAGENET
    shown = dict(mean=mean, std=std, size=_TEST_SIZE, edge=_TEST_SIZE, interpolation='bicubic')
    return _Found(state, backbones.vit(state), shown, list(stored) if stored else None)


def _timm(name: str, checkpoint: str) -> _Found:
    """A plain ViT of timm."""
    state = TABLES['timm-vit'].convert(read_weights([checkpoint])).state
    if 'backbone.pre_norm.weight' in state:  # as CLIP, whose norms, images and GELU differ by name
        raise CheckpointError(
            f'The file holds norm_pre, as those of CLIP, and {name} has none. Fix: give the '
            'weights of that name.'
        )
    backbone = backbones.vit(state)
    mean, std = _HALF if name.startswith('vit') and 'dinov2' not in name else _IMAGENET
    size = backbone['img_size']
    share = 1.0 if size > 224 else 0.9
    edge = round(size / share)
    return _Found(state, backbone, dict(mean=mean, std=std, size=size, edge=edge))


def _hugging_face(folder: Path, checkpoint: str | None) -> _Found:
    """A folder as ``save_pretrained`` writes it."""
    if not (folder / 'config.json').is_file():
        fix = 'give the folder with config.json and model.safetensors'
        raise ConfigError('--model', f'hf:{folder}', 'there is no config.json', fix)
    config = read_json(folder / 'config.json')
    kind = config.get('model_type') if isinstance(config, dict) else None
    if kind not in _HUGGING_FACE:
        raise ConfigError('--model', f'hf:{folder}', f'is a {kind}', f'give {KNOWN}')
    files = sorted(folder.glob('model*.safetensors')) or sorted(folder.glob('pytorch_model*.bin'))
    given = [Path(checkpoint)] if checkpoint else files
    if not given:
        fix = 'download model.safetensors into it'
        raise ConfigError('--model', f'hf:{folder}', 'has no weights', fix)
    table, eps, default = _HUGGING_FACE[kind]
    state = TABLES[table].convert(read_weights(given)).state
    try:
        backbone = _backbone(kind, state, config, eps)
    except KeyError as error:
        problem = f'config.json lacks {error}'
        raise ConfigError('--model', f'hf:{folder}', problem, 'download it again') from error
    labels = config.get('id2label')
    names = None
    if isinstance(labels, dict) and all(str(key).isdigit() for key in labels):
        names = [str(labels[key]) for key in sorted(labels, key=int)]
    found = _Found(state, backbone, {}, names)
    _show(found, folder, default)
    return found


def _backbone(
    kind: str, state: dict[str, Tensor], config: Mapping[str, Any], eps: float
) -> dict[str, Any]:
    """The backbone of a model of Hugging Face; weights that its classifier does not use go."""
    if kind == 'clip':
        config = dict(dict(num_attention_heads=12), **(config.get('vision_config') or {}))
    act = backbones.activation(config.get('hidden_act', 'quick_gelu' if 'clip' in kind else 'gelu'))
    if kind in ('swin', 'swinv2', 'beit') and act['type'] != 'GELU':
        problem = f'hidden_act is {config["hidden_act"]!r}, and the host of a {kind} has gelu'
        raise CheckpointError(f'{problem}. Fix: take a model with gelu.')
    if kind == 'swin':
        return backbones.swin(config)
    if kind == 'swinv2':
        return backbones.swin_v2(config)
    if kind == 'beit':
        return backbones.beit(state, config)
    options: dict[str, Any] = dict(norm_cfg=dict(type='LN', eps=config.get('layer_norm_eps', eps)))
    if act['type'] != 'GELU':
        options['layer_cfgs'] = dict(act_cfg=act)
    if 'head.fc.weight' in state:  # CLIP: the mean of patches that no norm has changed
        options.update(out_type='featmap', final_norm=False)
        for key in [key for key in state if key.startswith('backbone.ln1.')]:
            del state[key]
    return backbones.vit(state, config['num_attention_heads'], **options)


def _show(found: _Found, folder: Path, default: tuple[list[float], list[float]]) -> None:
    """How images are shown to a model of Hugging Face."""
    path = folder / 'preprocessor_config.json'
    told = read_json(path) if path.is_file() else {}
    told = told if isinstance(told, dict) else {}
    if not told.get('image_mean') or not told.get('image_std'):
        found.notes.append(
            f'{path} names no mean and deviation of images: {default[0]} and {default[1]} are used.'
        )
    mean, std = (
        told.get(f'image_{name}') or each
        for name, each in zip(('mean', 'std'), default, strict=True)
    )
    how = 'bicubic' if told.get('resample') == 3 else 'bilinear'
    size = found.backbone['img_size']
    crop, edge = _length(told.get('crop_size')), _length(told.get('size'))
    if told.get('do_center_crop') and crop and edge:
        resizable = 'VisionTransformer' in found.backbone['type']
        shown = crop if resizable else size
        found.shown = dict(size=shown, edge=max(shown, round(edge * shown / crop)))
    else:
        found.shown = dict(size=size)
    found.shown.update(mean=mean, std=std, interpolation=how)


def _length(size: Any) -> int | None:
    """A side of ``size`` or ``crop_size``: a number, or a dict of sides."""
    if isinstance(size, Mapping):
        size = size.get('shortest_edge') or size.get('height')
    return size if isinstance(size, int) and size > 0 else None


def _pipelines(shown: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Steps from a file to an image of the size of the model."""
    size, how = shown['size'], shown.get('interpolation', 'bicubic')
    scaled: Sequence[dict[str, Any]] = [
        dict(type='Resize', scale=(size, size), backend='pillow', interpolation=how)
    ]
    if 'edge' in shown:
        edge = dict(scale=shown['edge'], edge='short', backend='pillow', interpolation=how)
        scaled = [dict(type='ResizeEdge', **edge), dict(type='CenterCrop', crop_size=size)]
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
    return dict(
        train=[load, *scaled, dict(type='RandomFlip', prob=0.5), pack], test=[load, *scaled, pack]
    )
