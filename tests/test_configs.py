"""Every config that is shipped: loads, stays at home, and builds."""

import copy
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.datasets.classes import ORDERS
from knowswap_mm.engine.checks import check_config
from knowswap_mm.engine.optim import PhaseSchedulers
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.registry import name_types
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.swap_configs import schedule_of

REPOSITORY = Path(__file__).parents[1]
FILES = sorted((REPOSITORY / 'configs').rglob('*.py'))
WHOLE = [path for path in FILES if '_base_' not in path.parts]
SIZES = dict(learn=18000, forget=1200, retain=3000)
SWAPPER = 'knowswap_mm.KnowledgeSwapper'
TINY = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


@cache
def _read(path):
    return Config.fromfile(path)


def load(path):
    """Reading takes long: once a file, and a copy for everyone."""
    return copy.deepcopy(_read(path))


def name_of(path):
    return path.relative_to(REPOSITORY / 'configs').as_posix()


def swaps():
    return [path for path in WHOLE if 'swap' in load(path)]


def walk(value, key=''):
    """All (key, value) pairs of a nested config."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from walk(inner, name)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from walk(inner, key)
    else:
        yield key, value


def shrink_dinov2(host):
    """Give a host narrow blocks in place of DINOv2's; the number of blocks stays."""
    width, backbone = TINY['embed_dims'], host.backbone
    if not str(backbone.get('arch')).startswith('dinov2'):
        return False
    backbone.update(arch=dict(TINY, num_layers=12), img_size=28, init_cfg=None)
    if 'head' in host:
        host.head.in_channels = width
        return True
    pyramid, *behind = host.neck if isinstance(host.neck, list) else [host.neck]
    pyramid.embed_dim = width
    for part in [*behind, host.get('decode_head') or {}]:
        part['in_channels'] = [width] * 4
    return True


def build(cfg):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def test_there_are_configs():
    assert len(WHOLE) >= 3 and swaps()


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_nothing_is_fetched_or_inherited_from_a_host(path):
    text = path.read_text(encoding='utf-8')
    assert not re.search(r'(mmseg|mmdet|mmpretrain|mmengine|mmcv)::', text)
    for base in re.findall(r"'([^']+\.py)'", text):
        assert (path.parent / base).resolve().is_relative_to(REPOSITORY / 'configs')
    assert not re.search(r'(https?|ftp|s3|torchvision|open-mmlab|modelzoo)://', text)


@pytest.mark.parametrize('path', WHOLE, ids=name_of)
def test_loads(path):
    cfg = load(path)
    assert cfg.default_scope in ('mmpretrain', 'mmdet', 'mmseg')
    for key, value in walk(cfg.to_dict()):
        if isinstance(value, str):
            assert '://' not in value, (key, value)
            assert not Path(value).is_absolute(), (key, value)
    # What is written to the run folder can be read again.
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == cfg.to_dict()


def test_the_model_index_lists_every_swap(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['metafiles.py', '--check'])
    runpy.run_path(str(REPOSITORY / 'tools' / 'setup' / 'metafiles.py'), run_name='__main__')
    assert 'up to date' in capsys.readouterr().out
    index = yaml.safe_load((REPOSITORY / 'model-index.yml').read_text())
    files = [yaml.safe_load((REPOSITORY / path).read_text()) for path in index['Import']]
    listed = {model['Config'] for file in files for model in file['Models']}
    tasks = {path for path in swaps() if path.parent.name != 'demo'}
    tasks |= {path for path in WHOLE if path.parent.name == 'baselines'}
    assert listed == {path.relative_to(REPOSITORY).as_posix() for path in tasks}


@pytest.mark.parametrize('path', swaps(), ids=name_of)
def test_swap_schedule_resolves(path):
    cfg = load(path)
    assert cfg.runner_type == 'knowswap_mm.SwapRunner'
    assert 'knowswap_mm' in cfg.custom_imports.imports
    assert cfg.default_hooks.runtime_info == dict(type='knowswap_mm.DeviceScalarsHook')
    check_config(name_types(cfg))
    batch = cfg.train_dataloader.batch_size
    schedule = schedule_of(cfg, SIZES)
    PhaseSchedulers(cfg.get('param_scheduler'), schedule)
    assert all(phase.batch_size == batch for phase in schedule.phases)
    if path.parent.name == 'baselines':  # named after what they do
        return
    order = re.search(
        r'_((learn|forget|joint|expand)(-(learn|forget|joint|expand))*)(_|$)', path.stem
    )
    assert order, 'the name of a config ends with its order of phases'
    assert [phase.kind for phase in schedule.phases] == order[1].split('-')


@pytest.mark.parametrize('path', swaps(), ids=name_of)
def test_swap_classes_fit_the_head(path):
    cfg = load(path)
    classes, old = cfg.swap.classes, cfg.model.head.old_classes
    counts = {value for key, value in walk(cfg.model.to_dict()) if key == 'num_classes'}
    assert len(counts) == 1
    if isinstance(classes.old, (list, tuple)):
        assert len(classes.old) == old
        assert set(classes.forget or ()) < set(classes.old)
        assert not set(classes.learn) & set(classes.old)
        assert counts == {old + len(classes.learn)}
    else:
        assert classes.old in ORDERS and counts.pop() > old
    if path.stem.endswith('_parity'):
        assert cfg.model.head.get('policy') == 'frozen'


def of(scope):
    """Swaps of a host library with adapters, one for each different model."""
    configs = {path: load(path) for path in swaps() if load(path).model.type == SWAPPER}
    models = {str(cfg.model): path for path, cfg in configs.items() if cfg.default_scope == scope}
    return sorted(models.values())


@pytest.mark.parametrize('path', of('mmpretrain'), ids=name_of)
def test_classifier_builds(path):
    cfg = load(path)
    backbone, head = cfg.model.host.backbone, cfg.model.host.head
    shrunk = isinstance(backbone.get('arch'), str)
    if shrunk and not shrink_dinov2(cfg.model.host):
        backbone.arch = dict(TINY)
        head.in_channels = TINY['embed_dims']
    model = build(cfg)
    size = backbone.img_size
    with torch.no_grad():
        logits = model.eval()(torch.zeros(2, 3, size, size))
    if isinstance(logits, (list, tuple)):
        logits = logits[-1]
    assert len(logits) == 2 and torch.isfinite(logits).all()
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable and any('lora_' in name for name in trainable)
    if cfg.model.head.get('policy') == 'frozen':
        assert all('lora_' in name for name in trainable)
    weights = REPOSITORY / cfg.load_from
    if weights.is_file() and not shrunk:
        model.load_state_dict(state_dict_of(safe_load(weights)), strict=True)


@pytest.mark.parametrize('path', of('mmdet'), ids=name_of)
def test_detector_builds(path):
    """Large ones without memory: only their structure is looked at."""
    cfg = load(path)
    cfg.model.host.backbone.init_cfg = None
    small = cfg.model.host.backbone.get('embed_dims', 96) < 96
    whole = small or shrink_dinov2(cfg.model.host)
    model = build(cfg) if whole else shrink_and_build(cfg)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any('lora_' in name for name in trainable)
    if cfg.model.head.get('policy') == 'frozen':
        assert all('lora_' in name for name in trainable)
    weights = REPOSITORY / cfg.load_from
    if weights.is_file() and small:
        model.load_state_dict(state_dict_of(safe_load(weights)), strict=True)


@pytest.mark.parametrize('path', of('mmseg'), ids=name_of)
def test_segmentor_builds(path):
    """Large ones with one Swin block a stage."""
    cfg = load(path)
    host = cfg.model.host
    small = host.backbone.get('embed_dims', 96) < 96
    if not small and not shrink_dinov2(host):
        host.backbone.update(depths=(1, 1, 1, 1), embed_dims=24, num_heads=(1, 2, 4, 8))
        host.decode_head.in_channels = [24, 48, 96, 192]
        if 'auxiliary_head' in host:
            host.auxiliary_head.in_channels = 96
    __import__('knowswap_mm.models.heads')
    model = build(cfg)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any('lora_' in name for name in trainable)
    if cfg.model.head.get('policy') == 'frozen':
        assert all('lora_' in name for name in trainable)
    weights = REPOSITORY / cfg.load_from
    if weights.is_file() and small:
        model.load_state_dict(state_dict_of(safe_load(weights)), strict=True)


@pytest.mark.slow
def test_mask2former_swin_b_has_the_official_number_of_parameters():
    path = 'configs/segmentation/mask2former_swin-b_ade20k-voc_learn-forget_parity.py'
    model = build(load(REPOSITORY / path))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_417_216
    assert len(model.swapping_loss.sparsity.groups) == 39


def shrink_and_build(cfg):
    """One Swin block a stage and few queries; the number of layers of the transformer stays."""
    cfg.model.host.backbone.update(depths=(1, 1, 1, 1), embed_dims=24, num_heads=(1, 2, 4, 8))
    cfg.model.host.neck.in_channels = [48, 96, 192]
    cfg.model.host.num_queries = 10
    return build(cfg)


@pytest.mark.slow
def test_vit_b16_has_the_official_number_of_parameters():
    path = REPOSITORY / 'configs/classification/vit-b16_imagenet100_learn-forget_parity.py'
    model = build(load(path))
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    assert sum(trained) == 737_280 and len(trained) == 48


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'parameters', 'groups'),
    [('', 1_886_208, 30), ('_encoder-decoder', 442_368, 6)],
    ids=['parity', 'what the official run trained'],
)
def test_dino_swin_l_has_the_official_number_of_parameters(name, parameters, groups):
    path = f'configs/detection/dino-4scale_swin-l_coco-cub_learn-forget{name}_parity.py'
    model = build(load(REPOSITORY / path))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters
    assert len(model.swapping_loss.sparsity.groups) == groups


@pytest.mark.parametrize(
    'path',
    [path for path in swaps() if path.parts[-3:-1] == ('classification', 'baselines')],
    ids=name_of,
)
def test_baselines_have_the_budget_of_the_method(path):
    """The same adapters, head, start, data, batch and optimizer; what differs is listed here."""
    method = load(path.parents[1] / 'vit-fashion_7cls_learn-forget.py').to_dict()
    cfg = load(path).to_dict()
    cfg.pop('custom_hooks'), method.pop('custom_hooks')
    cfg['model'].pop('loss', None)
    cfg['train_dataloader']['dataset']['roles']['forget'].pop('view', None)
    settings, wanted = cfg.pop('swap'), method.pop('swap')
    cfg.pop('leave', None)
    if path.stem.endswith('_undo'):  # it damages and repairs all weights, in a phase more
        assert cfg['model'].pop('type') == 'knowswap_mm.FullTrainingSwapper'
        assert cfg['model'].pop('lora') is None and cfg['optim_wrapper']['optimizer'].pop('lr')
        assert len(settings['phases']) == 3
        method['model'].pop('type'), method['model'].pop('lora')
        method['optim_wrapper']['optimizer'].pop('lr')
    assert cfg == method
    assert settings['classes'] == wanted['classes']


def test_retraining_never_sees_a_forgotten_class():
    folder = REPOSITORY / 'configs/classification'
    cfg = load(folder / 'baselines/vit-fashion_10cls_retrain.py')
    swap = load(folder / 'vit-fashion_7cls_learn-forget.py').swap
    pretrain = load(folder / 'pretrain/vit-fashion_7cls_pretrain.py')
    assert cfg.train_dataloader.dataset.metainfo.classes == swap.classes.old + swap.classes.learn
    kept = len(swap.classes.old) - len(swap.classes.forget) + len(swap.classes.learn)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.ann_file == f'meta/retrain{kept}_{split}.txt'
        assert dataset.pipeline == pretrain[f'{split}_dataloader'].dataset.pipeline
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert cfg[key] == pretrain[key]
    model = build(load(folder / 'vit-fashion_7cls_learn-forget.py'))
    plain = build(cfg)
    assert {k: v.shape for k, v in model.start_rows.tensors().items()} == {
        k: v.shape for k, v in plain.state_dict().items() if k in model.start_rows.tensors()
    }


RETRAINED = dict(detection='dino-mini_shapes', segmentation='mask2former-mini_shapes')


@pytest.mark.parametrize('task', RETRAINED)
def test_retraining_by_roles_never_sees_a_forgotten_class(task):
    folder = REPOSITORY / 'configs' / task
    cfg = load(folder / f'baselines/{RETRAINED[task]}_retrain.py')
    swap = load(folder / f'{RETRAINED[task]}_learn-forget.py')
    assert cfg.load_from is None and cfg.swap.classes == swap.swap.classes
    phases = SwapSchedule.from_config(cfg.swap, SIZES, cfg.train_dataloader.batch_size).phases
    assert [set(phase.roles) for phase in phases] == [{'learn', 'retain'}]
    # The others are left out whole: without its label a triangle would be background.
    assert cfg.train_dataloader.dataset.roles.retain.get('mixed', 'drop_image') == 'drop_image'
    model = build(cfg)
    assert not model.adapters and all(p.requires_grad for p in model.parameters())
    assert not model.start_rows.tensors()
    assert model.class_rows.tensors == build(swap).class_rows.tensors


@pytest.mark.parametrize('path', sorted(set(WHOLE) - set(swaps())), ids=name_of)
def test_pretraining_model_builds(path):
    cfg = load(path)
    counts = {value for key, value in walk(cfg.model.to_dict()) if key == 'num_classes'}
    shrunk = shrink_dinov2(cfg.model)
    if 'metainfo' in cfg.train_dataloader.dataset:
        assert counts == {len(cfg.train_dataloader.dataset.metainfo.classes)}
    elif not shrunk:  # the swap that starts from it has as many, and the same images at 224 px
        swap = load(REPOSITORY / 'configs/classification/vit-b16_imagenet100_learn-forget.py')
        assert counts == {swap.model.head.old_classes}
        assert cfg.model.backbone.arch == swap.model.host.backbone.arch == 'b'
        cfg.model.backbone.arch, cfg.model.head.in_channels = dict(TINY), TINY['embed_dims']
    assert sum(p.numel() for p in build(cfg).parameters()) < (2e7 if shrunk else 5e6)


@pytest.mark.parametrize('path', [p for p in swaps() if p.parent.name == 'real'], ids=name_of)
def test_a_swap_of_real_images_begins_where_its_host_ends(path):
    cfg = load(path)
    if cfg.load_from.startswith('weights/'):
        assert (REPOSITORY / cfg.load_from).is_file()
        return
    folder, file = Path(cfg.load_from).parts[-2:]
    host = load(path.parent / 'pretrain' / f'{folder}.py')
    assert file == f'iter_{host.train_cfg.max_iters}.pth' and host.runner_type == 'Runner'
    assert host.param_scheduler[-1].end == host.train_cfg.max_iters
    counts = {value for key, value in walk(host.model.to_dict()) if key == 'num_classes'}
    assert counts == {cfg.model.head.old_classes}
    trained, swapped = host.model.backbone.to_dict(), cfg.model.host.backbone.to_dict()
    assert {k: v for k, v in trained.items() if k not in ('frozen_stages', 'init_cfg')} == swapped
    assert host.model.data_preprocessor == cfg.model.host.data_preprocessor
    if 'metainfo' in host.train_dataloader.dataset:
        assert host.train_dataloader.dataset.metainfo.classes == cfg.swap.classes.old
