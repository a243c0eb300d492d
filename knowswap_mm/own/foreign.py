"""Classifiers without a config of mmpretrain: the host is written from the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from torch import Tensor

from knowswap_mm.converters import TABLES
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.checkpoints import read_weights, safe_save, state_dict_of
from knowswap_mm.io.text_files import read_json
from knowswap_mm.own.host import TASKS, Host, load_module, read_checkpoint

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_HALF = ([0.5] * 3, [0.5] * 3)
#: Heads of the attention have 64 channels in these.
_TIMM = re.compile(r'(vit|deit)_(tiny|small|base|large)_patch(\d+)_(\d+)(\..+)?')
_DINOV2 = re.compile(r'dinov2-(small|base|large)')
_TEST_SIZE = 224
KNOWN = (
    'timm:NAME of a plain ViT or DeiT (vit_small_patch16_224, deit_base_patch16_224, ...), '
    'hf:FOLDER with a ViT or Swin for image classification, and dinov2-small, -base or -large with '
    'a checkpoint of mmpretrain that has a head'
)


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
        state, backbone, shown, found = _dinov2(model, _needed(model, checkpoint))
    elif source == 'timm' and _TIMM.fullmatch(rest):
        state, backbone, shown, found = _timm(rest, _needed(model, checkpoint))
    elif source == 'hf':
        state, backbone, shown, found = _hugging_face(Path(rest), checkpoint)
    else:
        raise ConfigError('--model', model, 'is no kind that is known', f'give {KNOWN}')
    names = names or found
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
            neck=None if kind.startswith('Vision') else dict(type='GlobalAveragePooling'),
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
        notes=[f'The config of the host was written from the weights of {model}.'],
    )
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


def _vit(state: Mapping[str, Tensor], heads: int, **options: Any) -> dict[str, Any]:
    """The backbone of a ViT by the shapes of its weights."""
    for key in ('cls_token', 'pos_embed', 'patch_embed.projection.weight'):
        if f'backbone.{key}' not in state:
            raise CheckpointError(f'The weights have no {key}. Fix: give those of a plain ViT.')
    width = state['backbone.cls_token'].shape[-1]
    layers = [key for key in state if key.endswith('.ffn.layers.0.0.weight')]
    patch = state['backbone.patch_embed.projection.weight'].shape[-1]
    side = round((state['backbone.pos_embed'].shape[1] - 1) ** 0.5)
    arch = dict(
        embed_dims=width,
        num_layers=len(layers),
        num_heads=heads or width // 64,
        feedforward_channels=state[layers[0]].shape[0] if layers else 4 * width,
    )
    return dict(
        type='VisionTransformer', arch=arch, img_size=side * patch, patch_size=patch, **options
    )


Parts = tuple[dict[str, Tensor], dict[str, Any], dict[str, Any], list[str] | None]


def _dinov2(model: str, checkpoint: str) -> Parts:
    """A classifier that mmpretrain trained on DINOv2."""
    weights = read_checkpoint(checkpoint)
    state = state_dict_of(weights)
    if 'backbone.cls_token' not in state:  # of Hugging Face: a backbone
        state = TABLES['huggingface-dinov2'].convert(state).state
    stored = ((weights.get('meta') or {}).get('dataset_meta') or {}).get('classes')
    backbone = _vit(state, 0, layer_scale_init_value=1e-5)
    mean, std = _IMAGENET
    shown = dict(mean=mean, std=std, size=_TEST_SIZE, edge=_TEST_SIZE, interpolation='bicubic')
    return state, backbone, shown, list(stored) if stored else None


def _timm(name: str, checkpoint: str) -> Parts:
    """A plain ViT of timm."""
    state = TABLES['timm-vit'].convert(read_weights([checkpoint])).state
    backbone = _vit(state, 0)
    mean, std = _IMAGENET if name.startswith('deit') else _HALF
    size = backbone['img_size']
    share = 1.0 if size > 224 else 0.9
    edge = round(size / share)
    return state, backbone, dict(mean=mean, std=std, size=size, edge=edge), None


def _hugging_face(folder: Path, checkpoint: str | None) -> Parts:
    """A folder as ``save_pretrained`` writes it."""
    if not (folder / 'config.json').is_file():
        fix = 'give the folder with config.json and model.safetensors'
        raise ConfigError('--model', f'hf:{folder}', 'there is no config.json', fix)
    config = read_json(folder / 'config.json')
    kind = config.get('model_type') if isinstance(config, dict) else None
    if kind not in ('vit', 'swin', 'dinov2'):
        raise ConfigError('--model', f'hf:{folder}', f'is a {kind}', f'give {KNOWN}')
    files = sorted(folder.glob('model*.safetensors')) or sorted(folder.glob('pytorch_model*.bin'))
    given = [Path(checkpoint)] if checkpoint else files
    if not given:
        fix = 'download model.safetensors into it'
        raise ConfigError('--model', f'hf:{folder}', 'has no weights', fix)
    state = TABLES[f'huggingface-{kind}'].convert(read_weights(given)).state
    eps = config.get('layer_norm_eps', 1e-12 if kind == 'vit' else 1e-5)
    norm = dict(norm_cfg=dict(type='LN', eps=eps))
    try:
        if kind == 'swin':
            depths = list(config['depths'])
            arch = dict(
                embed_dims=config['embed_dim'], depths=depths, num_heads=list(config['num_heads'])
            )
            backbone = dict(
                type='SwinTransformer',
                arch=arch,
                img_size=config['image_size'],
                patch_size=config['patch_size'],
                window_size=config['window_size'],
                **norm,
            )
        else:
            backbone = _vit(state, config['num_attention_heads'], **norm)
    except KeyError as error:
        problem = f'config.json lacks {error}'
        raise ConfigError('--model', f'hf:{folder}', problem, 'download it again') from error
    labels = config.get('id2label')
    names = None
    if isinstance(labels, dict) and all(str(key).isdigit() for key in labels):
        names = [str(labels[key]) for key in sorted(labels, key=int)]
    return state, backbone, _processor(folder, backbone['img_size']), names


def _processor(folder: Path, size: int) -> dict[str, Any]:
    """How images are shown to a model of Hugging Face."""
    path = folder / 'preprocessor_config.json'
    found = read_json(path) if path.is_file() else {}
    found = found if isinstance(found, dict) else {}
    mean, std = (
        found.get(f'image_{name}') or each
        for name, each in zip(('mean', 'std'), _HALF, strict=True)
    )
    how = 'bicubic' if found.get('resample') == 3 else 'bilinear'
    return dict(mean=mean, std=std, size=size, interpolation=how)


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
