"""Classifiers without a config of mmpretrain: the host that is written answers as the original."""

import json

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.cli.main import main
from knowswap_mm.converters import TABLES
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.models.host_state import prepare_state
from knowswap_mm.own.foreign import is_foreign, read_foreign
from tests.helpers import own_data
from tests.helpers.tiny_hosts import randomise

NAMES = ['a', 'b', 'c d', 'é', 'e']
#: The largest difference of logits about one: sums in another order, through a few layers.
CLOSE = 1e-4


_VIT = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=16,
    patch_size=8,
)  # fmt: skip
_SWIN = dict(embed_dim=8, depths=[1, 2, 1, 1], num_heads=[1, 1, 2, 2], image_size=32, patch_size=2)


def of_hugging_face(kind, folder):
    """A classifier of Hugging Face, saved as it saves one, with a size of 16 (Swin: 32)."""
    import transformers as t

    classifier = f'{kind}ForImageClassification'
    config = dict(
        ViT=lambda: t.ViTConfig(**_VIT),
        DeiTTeacher=lambda: t.DeiTConfig(**_VIT),
        CLIP=lambda: t.CLIPConfig(vision_config=_VIT, text_config=dict(num_hidden_layers=1)),
        BeitMean=lambda: t.BeitConfig(**_VIT, use_relative_position_bias=True),
        BeitToken=lambda: t.BeitConfig(
            **_VIT, use_mean_pooling=False, use_shared_relative_position_bias=True
        ),
        Swin=lambda: t.SwinConfig(**_SWIN, window_size=2),
        Swinv2=lambda: t.Swinv2Config(**_SWIN, window_size=4, pretrained_window_sizes=[3] * 4),
    )[kind]()
    if kind == 'DeiTTeacher':
        classifier = 'DeiTForImageClassificationWithTeacher'
    elif kind.startswith('Beit'):
        classifier = 'BeitForImageClassification'
    config.id2label, config.label2id = dict(enumerate(NAMES)), {n: i for i, n in enumerate(NAMES)}
    made = randomise(getattr(t, classifier)(config)).eval()
    made.save_pretrained(folder)
    shown = dict(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3], resample=3)
    (folder / 'preprocessor_config.json').write_text(json.dumps(shown))
    return made


def built(host):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(host.model)
    prepare_state(model)  # as a swap does: some hosts delete what they compute from a file
    model.load_state_dict(safe_load(host.checkpoint)['state_dict'])
    return model.eval()


KINDS = ['ViT', 'DeiTTeacher', 'CLIP', 'BeitMean', 'BeitToken', 'Swin', 'Swinv2']


@pytest.mark.parametrize('kind', KINDS)
def test_a_folder_of_hugging_face(kind, tmp_path):
    size = 32 if kind.startswith('Swin') else 16
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


def vit(heads=1, size=32, patch=16, width=64, **changes):
    """A plain ViT of mmpretrain with heads of 64 channels, as timm's are."""
    arch = dict(embed_dims=width, num_layers=2, num_heads=heads, feedforward_channels=128)
    host = dict(
        type='ImageClassifier',
        backbone=dict(
            dict(type='VisionTransformer', arch=arch, img_size=size, patch_size=patch), **changes
        ),
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


def test_a_distilled_deit_of_timm(tmp_path):
    """Both tokens are read, as ``DeiTForImageClassificationWithTeacher`` does above."""
    original = vit(type='DistilledVisionTransformer')
    state = TABLES['timm-vit'].revert(original.state_dict())
    state |= {f'head_dist.{key[5:]}': value + 1 for key, value in state.items() if 'head' in key}
    torch.save(state, tmp_path / 'deit.pth')
    name = 'timm:deit_tiny_distilled_patch16_224'
    mine = built(read_foreign(name, str(tmp_path / 'deit.pth'), NAMES, tmp_path / 'run'))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = original.extract_feat(images)[0]
        pairs = zip(('head', 'head_dist'), tokens, strict=True)
        both = [
            torch.nn.functional.linear(x, state[f'{n}.weight'], state[f'{n}.bias'])
            for n, x in pairs
        ]
        assert torch.allclose(mine.head(mine.extract_feat(images)), sum(both) / 2, atol=CLOSE)


@pytest.mark.parametrize(
    ('more', 'words'),
    [
        ({'dist_token': torch.zeros(1, 1, 64)}, 'a distilled DeiT with one head'),
        ({'norm_pre.weight': torch.ones(64), 'norm_pre.bias': torch.zeros(64)}, 'those of CLIP'),
    ],
)
def test_files_of_timm_that_are_of_another_name(more, words, tmp_path):
    state = TABLES['timm-vit'].revert(vit().state_dict()) | more
    torch.save(state, tmp_path / 'vit.pth')
    with pytest.raises(CheckpointError, match=words):
        read_foreign('timm:vit_tiny_patch16_224', str(tmp_path / 'vit.pth'), NAMES, tmp_path)


def test_heads_of_another_width(tmp_path):
    torch.save(TABLES['timm-vit'].revert(vit(width=32).state_dict()), tmp_path / 'vit.pth')
    with pytest.raises(CheckpointError, match='32 wide, which is no number of heads'):
        read_foreign('timm:vit_tiny_patch16_224', str(tmp_path / 'vit.pth'), NAMES, tmp_path)


@pytest.mark.parametrize('name', ['deit3_small_patch16_224', 'vit_small_patch14_dinov2.lvd142m'])
def test_layer_scales_of_timm(name, tmp_path):
    original = vit(layer_scale_init_value=0.1)
    state = TABLES['timm-vit'].revert(original.state_dict())
    assert 'blocks.1.ls2.gamma' in state
    torch.save(state, tmp_path / 'vit.pth')
    host = read_foreign(f'timm:{name}', str(tmp_path / 'vit.pth'), NAMES, tmp_path / 'run')
    assert host.model['data_preprocessor']['mean'] == [123.675, 116.28, 103.53]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine = built(host)
        assert torch.equal(*(m.head(m.extract_feat(images)) for m in (mine, original)))


def processor(folder, **told):
    (folder / 'preprocessor_config.json').write_text(json.dumps(told))
    return read_foreign(f'hf:{folder}', None, None, folder / 'run')


@pytest.mark.parametrize('size', [dict(shortest_edge=32), dict(height=32, width=32), 32])
def test_images_are_cropped_as_the_processor_does(size, tmp_path):
    """Its size may be another one than that of the positions, which are resized."""
    of_hugging_face('ViT', tmp_path)
    shown = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3, do_center_crop=True, size=size)
    host = processor(tmp_path, **shown, crop_size=dict(height=24, width=24))
    _, edge, crop, _ = host.pipelines['test']
    assert (edge['type'], edge['scale'], crop['crop_size']) == ('ResizeEdge', 32, 24)
    assert any('of 2 x 2 patches are resized to 3 x 3' in note for note in host.notes)


def test_a_beit_keeps_its_size(tmp_path):
    """Its relative positions are for one size; the crop has the share that it had."""
    of_hugging_face('BeitMean', tmp_path)
    host = processor(tmp_path, do_center_crop=True, size=32, crop_size=24)
    _, edge, crop, _ = host.pipelines['test']
    assert (edge['scale'], crop['crop_size']) == (21, 16)
    assert any('names no mean and deviation' in note for note in host.notes)


@pytest.mark.parametrize(
    ('kind', 'changes', 'words'),
    [
        ('ViT', dict(hidden_act='gelu_new'), "hidden_act is 'gelu_new', which is not known"),
        ('Swinv2', dict(hidden_act='relu'), 'the host of a swinv2 has gelu'),
        ('Swinv2', dict(layer_norm_eps=1e-6), 'layer_norm_eps is 1e-06'),
        ('Swinv2', dict(image_size=16), 'SwinTransformerV2 needs two'),
    ],
)
def test_hosts_that_would_answer_otherwise_are_refused(kind, changes, words, tmp_path):
    of_hugging_face(kind, tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=words):
        read_foreign(f'hf:{tmp_path}', None, None, tmp_path / 'run')


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


@pytest.mark.parametrize(
    'kind',
    ['ViT', 'BeitMean', *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS[1:3] + KINDS[6:])],
)
def test_a_swap_from_a_folder_of_hugging_face(kind, told, tmp_path):
    of_hugging_face(kind, tmp_path)
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
    last = tmp_path / 'run' / 'phase2_forget.pth'
    words = [str(tmp_path / 'run' / 'config.py'), str(last), '--out', str(tmp_path / 'exported')]
    main(['export', *words])  # which compares it with the model that was trained
    assert (tmp_path / 'exported' / 'model.pth').is_file()
