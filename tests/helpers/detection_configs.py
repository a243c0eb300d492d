"""A tiny but complete swap of a DINO for tests: scenes, a host, a config."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.data_tools.generators.scenes import write_shape_scenes

REPOSITORY = Path(__file__).parents[2]
OLD, NEW, FORGOTTEN = ('disc', 'square', 'star', 'bar'), ('cross', 'arrow'), 'star'
SIZE = 64
_counter = itertools.count()


def write_scenes(root: Path) -> Path:
    """60 training and 12 validation scenes of old classes, 16 and 6 of new ones."""
    write_shape_scenes(root / 'old', OLD, dict(train=60, val=12), SIZE, seed=0)
    write_shape_scenes(root / 'new', NEW, dict(train=16, val=6), SIZE, seed=1)
    return root


def host_config(classes: int, **backbone: Any) -> dict[str, Any]:
    """The small DINO of our configs, still smaller; ``backbone`` changes fields of the Swin."""
    path = REPOSITORY / 'configs' / 'detection' / '_base_' / 'dino_mini_host.py'
    host = Config.fromfile(path).dino_mini.to_dict()
    host.update(num_queries=10)
    host['backbone'].update(embed_dims=16, depths=(1, 1, 2), num_heads=(1, 2, 4), **backbone)
    host['neck'].update(in_channels=[32, 64], out_channels=32)
    for name in ('encoder', 'decoder'):
        layer = host[name]['layer_cfg']
        host[name]['num_layers'] = 2
        layer['ffn_cfg'].update(embed_dims=32, feedforward_channels=64)
        for attention in ('self_attn_cfg', 'cross_attn_cfg'):
            if attention in layer:
                layer[attention].update(embed_dims=32)
    host['positional_encoding']['num_feats'] = 16
    host['bbox_head'].update(num_classes=classes, embed_dims=32)
    return host


def write_host(path: Path) -> Path:
    """A plain checkpoint of the host with the old classes, as mmdet writes it."""
    with DefaultScope.overwrite_default_scope('mmdet'), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(host_config(len(OLD)))
        model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


def swapper_config(**settings: Any) -> dict[str, Any]:
    """Config of the swapper; ``backbone__x`` changes the Swin."""
    backbone = {k.split('__')[1]: settings.pop(k) for k in list(settings) if '__' in k}
    defaults = dict(
        type='knowswap_mm.KnowledgeSwapper',
        host=host_config(len(OLD) + len(NEW), **backbone),
        lora=dict(rank=4, alpha=4),
        head=dict(policy='new_rows', old_classes=len(OLD)),
        fuse='always',
        fp32_losses=True,
    )
    return defaults | settings


def detection_config(
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
    cfg = Config.fromfile(
        REPOSITORY / 'configs' / 'detection' / 'dino-mini_shapes_learn-forget.py'
    ).to_dict()
    cfg.update(
        experiment_name=f'detection_{next(_counter)}_{Path(work_dir).name}',
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
            dataset = copy.deepcopy(options['dataset'])
            split = 'train' if name == 'train' else 'val'
            dataset.update(
                data_root=str(root / ('new' if role == 'learn' else 'old')) + '/',
                ann_file=f'annotations/instances_{split}.json',
                data_prefix=dict(img=f'{split}/'),
            )
            for step in dataset['pipeline']:
                if step['type'] == 'Resize':
                    step['scale'] = (SIZE, SIZE)
            options.update(dataset=dataset, cache_dir=str(root / 'cache'))
    cfg['default_hooks']['checkpoint'].update(interval=1, max_keep_ckpts=-1)
    cfg['val_evaluator'] = cfg['test_evaluator']
    config = Config(cfg)
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config
