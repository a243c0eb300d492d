"""A tiny but complete swap of a Mask2Former for tests: scenes, a host, a config."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import mmdet.models  # noqa: F401  registers the pixel decoder
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.data_tools.generators.scenes import STUFF, write_shape_scenes

REPOSITORY = Path(__file__).parents[2]
SHAPES, NEW, FORGOTTEN = ('disc', 'square', 'star', 'bar'), ('cross', 'arrow'), 'star'
OLD = (*SHAPES, *STUFF)
SIZE = 64
_counter = itertools.count()


def write_scenes(root: Path) -> Path:
    """60 training and 12 validation scenes of old classes, 16 and 6 of new ones."""
    write_shape_scenes(root / 'old', SHAPES, dict(train=60, val=12), SIZE, seed=0)
    write_shape_scenes(root / 'new', NEW, dict(train=16, val=6), SIZE, seed=1)
    return root


def host_config(classes: int, head: str = 'Mask2FormerHead', **backbone: Any) -> dict[str, Any]:
    """The small Mask2Former of our configs, still smaller; ``backbone`` changes the Swin."""
    path = REPOSITORY / 'configs' / 'segmentation' / '_base_' / 'mask2former_mini_host.py'
    host = Config.fromfile(path).mask2former_mini.to_dict()
    host['data_preprocessor']['size'] = (SIZE, SIZE)
    host['backbone'].update(embed_dims=16, depths=(1, 1, 2), num_heads=(1, 2, 4), **backbone)
    decode = host['decode_head']
    decode.update(
        type=head, in_channels=[16, 32, 64], feat_channels=32, out_channels=32, num_queries=10
    )
    decode.update(num_classes=classes)
    decode['loss_cls']['class_weight'] = [1.0] * classes + [0.1]
    decode['train_cfg']['num_points'] = 64
    encoder, decoder = decode['pixel_decoder']['encoder'], decode['transformer_decoder']
    for part in (encoder, decoder):
        part['num_layers'] = 2
        part['layer_cfg']['ffn_cfg'].update(embed_dims=32, feedforward_channels=64)
        for attention in ('self_attn_cfg', 'cross_attn_cfg'):
            if attention in part['layer_cfg']:
                part['layer_cfg'][attention].update(embed_dims=32)
    for part in (decode, decode['pixel_decoder']):
        part['positional_encoding']['num_feats'] = 16
    decode['pixel_decoder']['norm_cfg']['num_groups'] = 4
    return ConfigDict(host)  # the host reads it by attribute


def write_host(path: Path) -> Path:
    """A plain checkpoint of the host with the old classes, as mmseg writes it."""
    with DefaultScope.overwrite_default_scope('mmseg'), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(host_config(len(OLD)))
        model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


def swapper_config(**settings: Any) -> dict[str, Any]:
    """Config of the swapper; ``host__x`` are arguments of :func:`host_config`."""
    host = {k.split('__')[1]: settings.pop(k) for k in list(settings) if '__' in k}
    defaults = dict(
        type='knowswap_mm.KnowledgeSwapper',
        host=host_config(len(OLD) + len(NEW), **host),
        lora=dict(rank=4, alpha=4),
        head=dict(policy='new_rows', old_classes=len(OLD)),
        fp32_losses=True,
    )
    return defaults | settings


def segmentation_config(
    root: Path, work_dir: Path, host: Path, phases: list[dict[str, Any]], **changes: Any
) -> Config:
    """The config of a swap of `star` against `cross` and `arrow`.

    Args:
        root: What :func:`write_scenes` wrote.
        work_dir: Folder of the run.
        host: What :func:`write_host` wrote.
        phases: The phases.
        **changes: Further settings with ``__`` for the dots.
    """
    path = REPOSITORY / 'configs' / 'segmentation' / 'mask2former-mini_shapes_learn-forget.py'
    cfg = Config.fromfile(path).to_dict()
    cfg.update(
        experiment_name=f'segmentation_{next(_counter)}_{Path(work_dir).name}',
        work_dir=str(work_dir),
        load_from=str(host),
        model=swapper_config(),
        swap=dict(
            classes=dict(old=list(OLD), learn=list(NEW), forget=[FORGOTTEN]),
            phases=phases,
            guard=False,
        ),
    )
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        for role, options in loader['dataset']['roles'].items():
            split = 'train' if name == 'train' else 'val'
            dataset = copy.deepcopy(options['dataset'])
            dataset.update(scenes(root, role, split, dataset['pipeline'], name != 'train'))
            options.update(dataset=dataset, cache_dir=str(root / 'cache'))
    cfg['default_hooks']['checkpoint'].update(interval=1, max_keep_ckpts=-1)
    cfg['val_evaluator'] = cfg['test_evaluator']
    config = Config(cfg)
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config


def scenes(root: Path, role: str, split: str, pipeline: list, test_mode: bool) -> dict[str, Any]:
    """The host data set over the scenes of a role."""
    names = (*NEW, *STUFF) if role == 'learn' else OLD
    return dict(
        type='mmseg.BaseSegDataset',
        data_root=str(root / ('new' if role == 'learn' else 'old')),
        data_prefix=dict(img_path=split, seg_map_path=f'semantic/{split}'),
        img_suffix='.png',
        reduce_zero_label=True,
        metainfo=dict(classes=list(names)),
        pipeline=pipeline,
        test_mode=test_mode,
    )
