"""The official layouts load strictly into the parity configs and give the official outputs.

Names, shapes and numbers come from `tests/official_layouts`, never from weights of ours.
"""

import copy
from functools import cache
from pathlib import Path

import mmdet.models  # noqa: F401  registers the hosts
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmseg.structures import SegDataSample
from torch.overrides import TorchFunctionMode

from knowswap_mm.converters import TABLES, kind_of
from knowswap_mm.converters.key_table import parse_rows, select_rows
from knowswap_mm.converters.lora import fill_adapters, split_lora
from tests.helpers.official_layouts import modules
from tests.helpers.official_layouts.dino import dino
from tests.helpers.official_layouts.mask2former import mask2former

CONFIGS = Path(__file__).parents[2] / 'configs'
DETECTOR = 'detection/dino-4scale_swin-l_coco-cub_learn-forget_parity.py'
SMALLER = 'detection/dino-4scale_swin-t_coco-cub_learn-forget.py'
SEGMENTOR = 'segmentation/mask2former_swin-b_ade20k-voc_learn-forget_parity.py'
CLASSIFIER = 'classification/vit-b16_imagenet100_learn-forget_parity.py'
SWIN_T = dict(size=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
DEPTHS, HEADS, WINDOW, RANK = (2, 2, 2, 1), (1, 2, 4, 8), 4, 8
TINY = dict(size=16, depths=DEPTHS, heads=HEADS, window=WINDOW, rank=RANK)
SWIN = dict(depths=DEPTHS, embed_dims=16, num_heads=HEADS, window_size=WINDOW, drop_path_rate=0.0)
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


class WithoutMemory(TorchFunctionMode):
    """Makes the parameters of what is built on the meta device; small constants stay real."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.zeros, torch.ones):
            kwargs.setdefault('device', 'meta')
        return func(*args, **kwargs)


@cache
def config_of(path):
    return Config.fromfile(CONFIGS / path)


def whole_host(path):
    config = config_of(path)
    with DefaultScope.overwrite_default_scope(config.default_scope), WithoutMemory():
        return MODELS.build(copy.deepcopy(config.model.host))


@pytest.mark.parametrize(
    ('kind', 'path', 'layout', 'rows', 'parameters', 'adapters'),
    [
        ('official-vit', CLASSIFIER, modules.vit(rank=8), None, 85_952_456, 737_280),
        ('official-dino', DETECTOR, modules.dino(rank=8), 'coco,91-95', None, 1_886_208),
        ('official-dino', SMALLER, modules.dino(**SWIN_T), 'coco,91-95', None, 0),
        (
            'official-mask2former',
            SEGMENTOR,
            modules.mask2former(rank=8),
            '0-155,160',
            106_923_733,
            1_417_216,
        ),
    ],
    ids=['vit-b16', 'dino-swin-l', 'dino-swin-t', 'mask2former-swin-b'],
)
def test_the_whole_layout_loads_strictly(kind, path, layout, rows, parameters, adapters):
    assert kind_of(layout.without_memory()) == kind
    conversion = TABLES[kind].convert(layout.without_memory())
    if rows:
        conversion.state = select_rows(conversion.state, parse_rows(rows))
    base, matrices = split_lora(conversion.state)
    host = whole_host(path)
    host.load_state_dict(base, strict=True, assign=True)
    # Sizes that the sources tell keep the layout itself from being wrong on both sides.
    if parameters:
        assert sum(p.numel() for p in host.parameters()) == parameters
    assert sum(a.numel() + b.numel() for a, b in matrices.values()) == adapters


def test_a_stock_detector_loads_before_it_grows():
    """IDEA-Research's own file: 91 classes, of which the swap begins with 80."""
    conversion = TABLES['official-dino'].convert(modules.dino(classes=91).without_memory())
    found = select_rows(conversion.state, parse_rows('coco'))
    config = copy.deepcopy(config_of(DETECTOR))
    config.model.host.bbox_head.num_classes = config.model.head.old_classes
    with DefaultScope.overwrite_default_scope('mmdet'), WithoutMemory():
        host = MODELS.build(config.model.host)
    host.load_state_dict(found, strict=True, assign=True)


def test_an_old_name_is_read_and_not_written():
    table, name = TABLES['official-mask2former'], 'sem_seg_head.predictor.{}.weight'
    state = modules.mask2former().without_memory()
    wanted = table.convert(state).state
    state[name.format('static_query')] = state.pop(name.format('query_feat'))
    found = table.convert(state).state
    assert found.keys() == wanted.keys()
    assert name.format('static_query') not in table.revert(found)


def swapper_with(config, kind, state, rows):
    """The swapper of a config with the base weights and the adapter of an official file."""
    conversion = TABLES[kind].convert(state)
    base, matrices = split_lora(select_rows(conversion.state, rows))
    config.accelerations = []
    with DefaultScope.overwrite_default_scope('mmseg' if 'mask' in kind else 'mmdet'):
        swapper = MODELS.build(config).double().eval()
    swapper.load_state_dict(base)
    fill_adapters(swapper, matrices)
    return swapper


def pictures():
    # Neither side is a multiple of the windows, so that maps are padded.
    return torch.randn(2, 3, 104, 136, generator=torch.Generator().manual_seed(1)).double()


def test_mask2former():
    config = copy.deepcopy(config_of(SEGMENTOR).model)
    config.host.backbone.update(SWIN)
    config.host.decode_head.in_channels = [16, 32, 64, 128]
    config.host.decode_head.num_queries = 12
    state = modules.mask2former(**TINY, queries=12).random()
    rows = parse_rows('0-155,160')
    model = swapper_with(config, 'official-mask2former', state, rows).host
    sample = SegDataSample(metainfo=dict(batch_input_shape=(104, 136), img_shape=(104, 136)))
    w = modules.merged(state, RANK)
    with torch.no_grad():
        scores, masks = model.decode_head(model.extract_feat(pictures()), [sample, sample])
        found = mask2former(w, pictures(), DEPTHS, HEADS, WINDOW, 6, 9)
    torch.testing.assert_close(found[0][..., rows], scores[-1], **TOLERANCE)
    torch.testing.assert_close(found[1], masks[-1], **TOLERANCE)


def test_dino():
    config = copy.deepcopy(config_of(DETECTOR).model)
    config.host.backbone.update(SWIN)
    config.host.neck.in_channels = [32, 64, 128]
    config.host.num_queries = 20
    state = modules.dino(**TINY, queries=20).random()
    rows = parse_rows('coco,91-95')
    # No proposal is chosen for a class without a category, as after training.
    unused = sorted(set(range(101)) - set(rows))
    state['transformer.enc_out_class_embed.bias'][unused] = -100.0
    model = swapper_with(config, 'official-dino', state, rows).host
    shape = dict(batch_input_shape=(104, 136), img_shape=(104, 136))
    samples = [DetDataSample(metainfo=shape) for _ in range(2)]
    w = modules.merged(state, RANK)
    with torch.no_grad():
        scores, boxes = model(pictures(), samples, mode='tensor')
        found = dino(w, pictures(), DEPTHS, HEADS, WINDOW, 20)
    torch.testing.assert_close(found[0][..., rows], scores[-1], **TOLERANCE)
    torch.testing.assert_close(found[1], boxes[-1], **TOLERANCE)
