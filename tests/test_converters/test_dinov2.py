"""DINOv2 of Hugging Face in the hosts: same outputs, strict loading, at any size of image."""

import mmpretrain.models  # noqa: F401  registers the hosts
import mmseg.models  # noqa: F401
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import save_file

from knowswap_mm.cli.commands.convert import COMMAND
from knowswap_mm.converters import TABLES
from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.checkpoints import read_weights, safe_load
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.models.loading import load_weights
from tests.helpers.official_layouts.dinov2 import ARCH, DIMS, HIDDEN, PATCH, forward, weights

TABLE = TABLES['huggingface-dinov2']
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def backbone(side, **changes):
    return dict(
        type='mmpretrain.VisionTransformer',
        arch=ARCH,
        img_size=side,
        patch_size=PATCH,
        layer_scale_init_value=1e-5,
        **changes,
    )


def classifier(side, classes):
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        backbone=backbone(side),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=classes, in_channels=DIMS),
    )


def segmentor(side, classes):
    head = dict(num_classes=classes, in_channels=DIMS, channels=8, num_convs=1, in_index=1)
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=backbone(side, out_type='featmap', out_indices=[0, 2]),
        decode_head=dict(type='FCNHead', norm_cfg=dict(type='BN'), **head),
        test_cfg=dict(mode='whole'),
    )


def images(height, width=None):
    return torch.randn(2, 3, height, width or height, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def source():
    return weights()


@pytest.fixture(scope='module')
def converted(source, tmp_path_factory):
    """The file that the command writes."""
    folder = tmp_path_factory.mktemp('dinov2')
    save_file(source, folder / 'model.safetensors')
    COMMAND.main(
        ['huggingface-dinov2', str(folder / 'model.safetensors'), '--out', str(folder / 'd.pth')]
    )
    return folder / 'd.pth'


def built(config, converted, scope='mmpretrain'):
    """With the weights as a config for pretraining names them."""
    init = dict(type='Pretrained', checkpoint=str(converted), prefix='backbone.')
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(dict(config, init_cfg=init))
        model.init_weights()
    model.eval()  # the backbone's gives nothing back
    return model


@pytest.mark.parametrize('side', [98, 196, 224])
def test_outputs_at_sizes_of_hosts(side, source, converted):
    model = built(backbone(side), converted)
    with torch.no_grad():
        (found,) = model(images(side))
        torch.testing.assert_close(found, forward(source, images(side))[-1][:, 0], **TOLERANCE)


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet'])
def test_features_of_layers_in_other_hosts(scope, source, converted):
    """As a backbone with several outputs; the last one is normed, the others are not."""
    config = backbone(518, out_type='featmap', out_indices=[0, 1, 2])
    model = built(config, converted, scope)
    picture = images(70, 98)
    with torch.no_grad():
        wanted = forward(source, picture)
        for layer, tokens in zip(model(picture), wanted, strict=True):
            found = layer.flatten(2).transpose(1, 2)
            torch.testing.assert_close(found, tokens[:, 1:], **TOLERANCE)


def test_prefix_head_and_mask_token(source):
    state = {f'dinov2.{key}': value for key, value in source.items()}
    state |= {'classifier.weight': torch.ones(2, 2 * DIMS), 'classifier.bias': torch.ones(2)}
    found, plain = TABLE.convert(state), TABLE.convert(source)
    assert found.state.keys() == plain.state.keys()
    assert all(torch.equal(found.state[key], value) for key, value in plain.state.items())
    assert set(found.dropped) == {
        'dinov2.embeddings.mask_token', 'classifier.weight', 'classifier.bias'
    }  # fmt: skip
    back = TABLE.revert(plain.state)
    assert back.keys() == source.keys() - {'embeddings.mask_token'}
    assert all(torch.equal(source[key], value) for key, value in back.items())


def test_the_giant_has_another_feed_forward_layer():
    source = weights(swiglu=True)
    config = backbone(98, layer_cfgs=dict(ffn_type='swiglu_fused'))
    config['arch'] = dict(ARCH, feedforward_channels=HIDDEN * 3 // 2)  # the host takes 2 / 3 of it
    model = MODELS.build(config)
    model.eval()
    found = TABLE.convert(source).state
    model.load_state_dict({k.removeprefix('backbone.'): v for k, v in found.items()})
    with torch.no_grad():
        wanted = forward(source, images(98))[-1][:, 0]
        torch.testing.assert_close(model(images(98))[0], wanted, **TOLERANCE)


def test_registers_are_refused(source):
    for key in ('embeddings.register_tokens', 'dinov2_with_registers.embeddings.register_tokens'):
        with pytest.raises(CheckpointError, match='no registers. Fix: take a DINOv2 without them'):
            TABLE.convert(source | {key: torch.zeros(1, 4, DIMS)})


@pytest.mark.parametrize(('host', 'scope'), [(classifier, 'mmpretrain'), (segmentor, 'mmseg')])
def test_a_swap_loads_a_host_that_had_another_size(host, scope, converted):
    """Strictly: positions fit by being resized, and a file without the head is refused."""
    with DefaultScope.overwrite_default_scope(scope):
        pretrained = MODELS.build(host(518, 3))
        state = pretrained.state_dict() | safe_load(converted)['state_dict']
        swapper = KnowledgeSwapper(host(98, 5), lora=dict(rank=2), head=dict(old_classes=3))
    load_weights(swapper, state, 'host.pth')
    pretrained.load_state_dict(state)
    with torch.no_grad():
        pairs = zip(
            swapper.host.eval().extract_feat(images(98)),
            pretrained.eval().extract_feat(images(98)),
            strict=True,
        )
        for found, wanted in pairs:
            torch.testing.assert_close(found, wanted, **TOLERANCE)
    with pytest.raises(CheckpointError, match='Missing key'):
        load_weights(swapper, safe_load(converted)['state_dict'], 'd.pth')


def test_weights_in_several_files(source, converted, tmp_path):
    keys = sorted(source)
    parts = [tmp_path / f'model-0000{i}-of-00002.safetensors' for i in (1, 2)]
    for path, names in zip(parts, (keys[:9], keys[9:]), strict=True):
        save_file({key: source[key] for key in names}, path)
    words = ['huggingface-dinov2', *map(str, parts), '--out', str(tmp_path / 'd.pth')]
    COMMAND.main(words)
    found, wanted = (safe_load(path)['state_dict'] for path in (tmp_path / 'd.pth', converted))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    with pytest.raises(CheckpointError, match='Fix: name each part once'):
        read_weights([*parts, parts[0]])
    with pytest.raises(SystemExit, match='is not whole.*is missing in the file'):
        COMMAND.main([words[0], words[1], *words[3:]])
