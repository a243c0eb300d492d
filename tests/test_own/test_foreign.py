"""Classifiers without a config of mmpretrain: the host that is written answers as the original."""

import json

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.cli.main import main
from knowswap_mm.converters import TABLES
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.own.foreign import is_foreign, read_foreign
from tests.helpers import own_data
from tests.helpers.tiny_hosts import randomise

NAMES = ['a', 'b', 'c d', 'é', 'e']
#: The largest difference of logits about one: sums in another order, through a few layers.
CLOSE = 1e-4


def of_hugging_face(kind, folder):
    import transformers as t

    labels = dict(enumerate(NAMES))
    if kind == 'vit':
        shape = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
        config = t.ViTConfig(**shape, intermediate_size=48, image_size=16, patch_size=8)
        model = t.ViTForImageClassification
    else:
        shape = dict(embed_dim=8, depths=[1, 2, 1, 1], num_heads=[1, 1, 2, 2], window_size=2)
        config = t.SwinConfig(**shape, image_size=32, patch_size=2)
        model = t.SwinForImageClassification
    config.id2label, config.label2id = labels, {name: i for i, name in labels.items()}
    made = randomise(model(config)).eval()
    made.save_pretrained(folder)
    shown = dict(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3], resample=3)
    (folder / 'preprocessor_config.json').write_text(json.dumps(shown))
    return made


def built(host):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(host.model)
    model.load_state_dict(safe_load(host.checkpoint)['state_dict'])
    return model.eval()


@pytest.mark.parametrize(('kind', 'size'), [('vit', 16), ('swin', 32)])
def test_a_folder_of_hugging_face(kind, size, tmp_path):
    original = of_hugging_face(kind, tmp_path)
    host = read_foreign(f'hf:{tmp_path}', None, None, tmp_path / 'run')
    assert host.classes == NAMES
    assert host.model['data_preprocessor']['mean'] == [102.0, 127.5, 153.0]
    assert host.pipelines['test'][1]['interpolation'] == 'bicubic'
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine = built(host)
        found = mine.head(mine.extract_feat(images))
        assert torch.allclose(found, original(images).logits, atol=CLOSE, rtol=CLOSE)


def vit(heads=1, size=32, patch=16, width=64):
    """A plain ViT of mmpretrain with heads of 64 channels, as timm's are."""
    arch = dict(embed_dims=width, num_layers=2, num_heads=heads, feedforward_channels=128)
    host = dict(
        type='ImageClassifier',
        backbone=dict(type='VisionTransformer', arch=arch, img_size=size, patch_size=patch),
        head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=width),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return randomise(MODELS.build(host)).eval()


def test_a_file_of_timm(tmp_path):
    """Its keys are those of timm's models; the original is the model that they were made of."""
    original = vit()
    torch.save(TABLES['timm-vit'].revert(original.state_dict()), tmp_path / 'vit.pth')
    name = 'timm:vit_small_patch16_224.augreg_in21k_ft_in1k'
    host = read_foreign(name, str(tmp_path / 'vit.pth'), NAMES, tmp_path / 'run')
    assert host.model['data_preprocessor']['std'] == [127.5] * 3
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine = built(host)
        found = mine.head(mine.extract_feat(images))
        assert torch.equal(found, original.head(original.extract_feat(images)))
    deit = read_foreign('timm:deit_tiny_patch16_224', str(tmp_path / 'vit.pth'), NAMES, tmp_path)
    assert deit.model['data_preprocessor']['mean'] == [123.675, 116.28, 103.53]


def test_a_dinov2_with_a_head(tmp_path):
    """As mmpretrain saves it; names come from the checkpoint."""
    arch = dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=256)
    backbone = dict(type='VisionTransformer', arch=arch, img_size=42, patch_size=14)
    host = dict(
        type='ImageClassifier',
        backbone=dict(backbone, layer_scale_init_value=1e-5),
        head=dict(type='VisionTransformerClsHead', num_classes=5, in_channels=64),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        original = randomise(MODELS.build(host)).eval()
    meta = dict(dataset_meta=dict(classes=NAMES))
    torch.save(dict(state_dict=original.state_dict(), meta=meta), tmp_path / 'dino.pth')
    found = read_foreign('dinov2-small', str(tmp_path / 'dino.pth'), None, tmp_path / 'run')
    assert found.classes == NAMES
    images = torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine = built(found)
        assert torch.equal(*(m.head(m.extract_feat(images)) for m in (mine, original)))


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        ('timm:resnet50', 'timm:NAME of a plain ViT'),
        ('timm:vit_small_patch16_224', '--checkpoint FILE'),
        ('hf:{folder}', 'config.json'),
        ('hf:{folder}/bert', 'is a bert'),
        ('torch:vit', 'is no kind that is known'),
    ],
)
def test_what_is_not_known(model, words, tmp_path):
    (tmp_path / 'bert').mkdir()
    (tmp_path / 'bert' / 'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=words):
        read_foreign(model.format(folder=tmp_path), None, None, tmp_path / 'run')


def test_weights_of_another_kind(tmp_path):
    torch.save(dict(weight=torch.zeros(2)), tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match='none of this kind'):
        read_foreign(
            'timm:vit_tiny_patch16_224', str(tmp_path / 'odd.pth'), NAMES, tmp_path / 'run'
        )


def test_files_are_no_kinds(tmp_path):
    assert not is_foreign('configs/my.py') and not is_foreign('/data/a:b/my.py')
    assert is_foreign('hf:/data/vit') and is_foreign('dinov2-small')


def test_a_swap_from_a_folder_of_hugging_face(told, tmp_path):
    of_hugging_face('vit', tmp_path)
    given = dict(told('mmpretrain'), model=f'hf:{tmp_path}', checkpoint=None, out=tmp_path / 'run')
    old = told('mmpretrain')['model'].parent / 'old'
    data = tmp_path / 'old'
    for split in ('train', 'val'):
        (data / split).mkdir(parents=True)
        for name, source in zip(NAMES, 'abcde', strict=True):
            (data / split / name).symlink_to(old / split / source)
    main(['swap', *own_data.words(given, data=data, iters=2, device='cpu')])
    assert (tmp_path / 'run' / 'report.html').is_file()
    assert (tmp_path / 'run' / 'data' / 'host.pth').is_file()
