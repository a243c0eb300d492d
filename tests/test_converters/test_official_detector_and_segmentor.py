"""Every weight of DINO and Mask2Former has a place in the official layout, and comes back."""

from pathlib import Path

import mmdet.models  # noqa: F401  registers the hosts
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.converters import TABLES
from knowswap_mm.converters.class_row_selection import parse_rows, select_rows
from knowswap_mm.errors import CheckpointError
from knowswap_mm.models.host_fixes.dino_reference_points import KEY as POINTS
from knowswap_mm.models.host_fixes.dino_reference_points import widen

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL_SWIN = dict(depths=(1, 1, 1, 1), embed_dims=24, num_heads=(1, 2, 4, 8))
KINDS = {
    'official-dino': ('detection/dino-4scale_swin-l_coco-cub_learn-forget_parity.py', 'mmdet', 101),
    'official-mask2former': (
        'segmentation/mask2former_swin-b_ade20k-voc_learn-forget_parity.py',
        'mmseg',
        160,
    ),
}


@pytest.fixture(scope='module', params=KINDS)
def host(request):
    """State of the host with the official number of classes, one Swin block a stage."""
    path, scope, classes = KINDS[request.param]
    config = Config.fromfile(CONFIGS / path).model.host
    config.backbone.update(SMALL_SWIN)
    if scope == 'mmdet':
        config.neck.in_channels = [48, 96, 192]
        config.bbox_head.num_classes = classes
    else:
        config.decode_head.in_channels = [24, 48, 96, 192]
        config.decode_head.num_classes = classes
        config.decode_head.loss_cls.class_weight = [1.0] * classes + [0.1]
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    state = model.state_dict()
    if scope == 'mmdet':
        state[POINTS] = widen(state[POINTS][:, ::2].contiguous())
    return request.param, state


def test_every_key_goes_there_and_comes_back(host):
    kind, state = host
    table = TABLES[kind]
    official = table.revert(state)
    conversion = table.convert(official)
    assert not conversion.dropped
    left = conversion.check_filled(state, table.derived)
    assert all(key.endswith('relative_position_index') for key in left)
    for key, tensor in conversion.state.items():
        assert torch.equal(tensor, state[key]), key


def test_names_of_the_official_layout(host):
    kind, state = host
    official = set(TABLES[kind].revert(state))
    if kind == 'official-dino':
        for name in (
            'backbone.0.layers.2.blocks.0.mlp.fc1.weight',
            'backbone.0.layers.0.downsample.reduction.weight',
            'input_proj.3.0.weight',
            'transformer.encoder.layers.5.linear2.bias',
            'transformer.decoder.layers.0.self_attn.in_proj_weight',
            'transformer.decoder.layers.0.cross_attn.sampling_offsets.weight',
            'transformer.decoder.class_embed.5.bias',
            'class_embed.5.bias',
            'bbox_embed.0.layers.2.weight',
            'transformer.enc_out_bbox_embed.layers.0.weight',
            'label_enc.weight',
        ):
            assert name in official, name
        assert not any(name.startswith(('neck.', 'bbox_head.')) for name in official)
    else:
        head = 'sem_seg_head'
        for name in (
            'backbone.layers.3.blocks.0.attn.relative_position_bias_table',
            f'{head}.pixel_decoder.input_proj.2.0.weight',
            f'{head}.pixel_decoder.adapter_1.weight',
            f'{head}.predictor.transformer_cross_attention_layers.8.multihead_attn.in_proj_weight',
            f'{head}.predictor.class_embed.bias',
            f'{head}.predictor.mask_embed.layers.2.weight',
        ):
            assert name in official, name
        assert not any(name.startswith('decode_head.') for name in official)


def test_rows_of_the_classes(host):
    kind, state = host
    official = TABLES[kind].revert(state)
    if kind == 'official-dino':
        rows, key = parse_rows('coco,91-95'), 'bbox_head.cls_branches.6.weight'
    else:
        official['criterion.empty_weight'] = torch.ones(161)
        rows, key = parse_rows('0-155,160'), 'decode_head.cls_embed.weight'
    conversion = TABLES[kind].convert(official)
    selected = select_rows(conversion.state, rows)
    assert len(selected[key]) == len(rows)
    assert torch.equal(selected[key][-1], state[key][rows[-1]])
    changed = [k for k in selected if selected[k].shape != state[k].shape]
    assert all('cls_' in k or 'label_embedding' in k for k in changed)
    # Seven class branches with biases and the label embedding; or one head.
    assert len(changed) == (15 if kind == 'official-dino' else 2)


def test_inputs_that_the_official_layout_has_not(host):
    kind, state = host
    if kind == 'official-dino':
        with pytest.raises(CheckpointError, match='was trained with 1024 inputs'):
            TABLES[kind].revert(state | {POINTS: torch.ones_like(state[POINTS])})
