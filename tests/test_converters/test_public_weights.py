"""Hugging Face's own models and timm's layouts give the host's outputs."""

import pickle

import mmpretrain.models  # noqa: F401  registers the hosts
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from transformers import (
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from knowswap_mm.converters import TABLES, kind_of
from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.checkpoints import safe_load
from tests.helpers.official_layouts import modules
from tests.helpers.official_layouts.parts import linear
from tests.helpers.official_layouts.swin import swin
from tests.test_converters import test_official_vit as vit

DEPTHS, HEADS, WINDOW, CLASSES = (2, 2, 1, 1), (1, 2, 4, 8), 4, 5


def randomise(model):
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = noise / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1 * noise
        parameter.data = scale + float(parameter.ndim == 1 and name.endswith('weight'))
    return model.eval()


def swin_host():
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
            backbone=dict(
                type='mmpretrain.SwinTransformer',
                arch=dict(embed_dims=16, depths=list(DEPTHS), num_heads=list(HEADS)),
                img_size=128,
                window_size=WINDOW,
                drop_path_rate=0.0,
            ),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=128),
        )
    )


def check(kind, state, host, pictures, wanted):
    table = TABLES[kind]
    assert kind_of(state) == kind
    conversion = table.convert(state)
    missing, unexpected = host.load_state_dict(conversion.state, strict=False)
    assert not unexpected and all(key.endswith(tuple(table.derived)) for key in missing)
    with torch.no_grad():
        torch.testing.assert_close(host.eval()(pictures), wanted, rtol=1e-5, atol=1e-5)
    back = table.revert(conversion.state)
    for key in set(state) - set(conversion.dropped):
        assert torch.equal(back[key], state[key]), key
    return conversion


def test_hugging_face_vit():
    config = ViTConfig(
        hidden_size=vit.DIMS,
        num_hidden_layers=vit.LAYERS,
        num_attention_heads=vit.HEADS,
        intermediate_size=vit.HIDDEN,
        image_size=vit.SIZE,
        patch_size=vit.PATCH,
        num_labels=CLASSES,
        layer_norm_eps=1e-6,
    )
    model = randomise(ViTForImageClassification(config))
    pictures = torch.randn(2, 3, vit.SIZE, vit.SIZE)
    with torch.no_grad():
        wanted = model(pictures).logits
    host = MODELS.build(vit.host_config())
    state = dict(model.state_dict(), **{'vit.pooler.dense.weight': torch.ones(1)})
    found = check('huggingface-vit', state, host, pictures, wanted)
    assert list(found.dropped) == ['vit.pooler.dense.weight']


def test_timm_vit():
    source = vit.official(lora=False)
    names = {
        'transformer.embeddings.patch_embeddings': 'patch_embed.proj',
        'transformer.embeddings.position_embeddings': 'pos_embed',
        'transformer.embeddings.': '',
        'transformer.encoder.encoder_norm': 'norm',
        'transformer.encoder.layer': 'blocks',
        'attention_norm': 'norm1',
        'ffn_norm': 'norm2',
        'attn.out': 'attn.proj',
        '.ffn.': '.mlp.',
    }
    state = {}
    for key, tensor in source.items():
        for old, new in names.items():
            key = key.replace(old, new)
        state[key] = tensor
    for i in range(vit.LAYERS):
        for kind in ('weight', 'bias'):
            parts = [state.pop(f'blocks.{i}.attn.{n}.{kind}') for n in ('query', 'key', 'value')]
            state[f'blocks.{i}.attn.qkv.{kind}'] = torch.cat(parts)
    pictures = torch.randn(2, 3, vit.SIZE, vit.SIZE)
    host = MODELS.build(vit.host_config())
    check('timm-vit', state, host, pictures, vit.forward(source, pictures))


def test_hugging_face_swin():
    config = SwinConfig(
        image_size=128,
        embed_dim=16,
        depths=list(DEPTHS),
        num_heads=list(HEADS),
        window_size=WINDOW,
        num_labels=CLASSES,
        drop_path_rate=0.0,
    )
    model = randomise(SwinForImageClassification(config))
    pictures = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        wanted = model(pictures).logits
    check('huggingface-swin', model.state_dict(), swin_host(), pictures, wanted)


@pytest.mark.parametrize('kind', ['swin', 'timm-swin'])
def test_swin(kind):
    """The straight-line forward reads Microsoft's keys; newer timm counts mergings from 1."""
    layout = modules.Layout()
    modules.swin(layout, 'net', 16, DEPTHS, HEADS, WINDOW, norms=(3,))
    layout.linear('net.head', CLASSES, 128)
    weights = layout.random(dtype=torch.float32)
    pictures = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        (last,) = swin(weights, 'net', pictures, DEPTHS, HEADS, WINDOW, out=(3,))
        wanted = linear(weights, 'net.head', last.mean((2, 3)))
    state = {key[4:].replace('norm3.', 'norm.'): value for key, value in weights.items()}
    state['layers.0.blocks.1.attn_mask'] = torch.zeros(1)
    if kind == 'timm-swin':
        state = {newer(key): value for key, value in state.items()}
    found = check(kind, state, swin_host(), pictures, wanted)
    assert list(found.dropped) == ['layers.0.blocks.1.attn_mask']


def newer(key):
    if '.downsample.' in key:
        _, stage, rest = key.split('.', 2)
        return f'layers.{int(stage) + 1}.{rest}'
    return key.replace('head.', 'head.fc.')


class Harm:
    def __reduce__(self):
        return print, ('run',)


@pytest.mark.parametrize('protocol', [2, 4])
def test_detectron2_files(tmp_path, protocol):
    path = tmp_path / 'model.pkl'
    content = dict(model=dict(a=np.arange(3, dtype=np.float32)), __author__='x')
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = safe_load(path)
    assert torch.equal(found['model']['a'], torch.arange(3.0)) and found['__author__'] == 'x'


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / 'model.pkl'
    for harm in (Harm(), np.array([Harm()], dtype=object), np.array(['text'])):
        path.write_bytes(pickle.dumps(dict(model=harm)))
        with pytest.raises(CheckpointError, match='would have to be executed'):
            safe_load(path)
    assert 'run' not in capsys.readouterr().out
    path.write_bytes(pickle.dumps(dict(model=np.ones(3)))[:-20])
    with pytest.raises(CheckpointError, match='damaged'):
        safe_load(path)
