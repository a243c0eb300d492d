import copy
import weakref
from collections import Counter

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch.nn.modules.batchnorm import _BatchNorm

from knowswap_mm.errors import ConfigError, PhaseError
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.registry import MODELS
from tests.helpers.steps import EXPAND, FORGET, JOINT, LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    SIZE,
    batch,
    build_host,
    build_swapper,
    changed,
    new_swapper,
    randomise_adapters,
    resnet_host,
    snapshot,
    swin_host,
    trainable,
    vit_host,
)

PICTURES = batch(['learn'])[0]['learn']


@MMPRETRAIN.register_module(force=True)
class ClassifierWithoutExtractFeat(ImageClassifier):
    """A host whose loss goes its own way."""

    def loss(self, inputs, data_samples):
        return self.head.loss(self.backbone(inputs), data_samples)


def other_host():
    return vit_host(type='mmpretrain.ClassifierWithoutExtractFeat')


def calls_of(module):
    """Count the forward passes of a module, and the images in each."""
    sizes = []
    module.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes


def test_parity_count():
    host = vit_host(
        backbone=dict(type='mmpretrain.VisionTransformer', arch='b', img_size=224, patch_size=16),
        head=dict(type='mmpretrain.VisionTransformerClsHead', num_classes=200, in_channels=768),
    )
    swapper = KnowledgeSwapper(host, lora=dict(), head=dict(old_classes=100, policy='frozen'))
    assert len(trainable(swapper)) == 48
    assert sum(p.numel() for p in trainable(swapper).values()) == 737_280


@pytest.mark.parametrize('accelerations', [[], None], ids=['plain', 'accelerated'])
@pytest.mark.parametrize('config', [vit_host(), swin_host()], ids=['vit', 'swin'])
def test_before_the_first_step_the_model_is_the_host(config, accelerations):
    swapper = build_swapper(config, head=None, accelerations=accelerations).eval()
    plain = build_host(config)
    wanted = plain(PICTURES)
    assert wanted.std() > 0.1
    # Window attention in one kernel adds in another order.
    exact = dict(rtol=0, atol=0) if accelerations == [] else {}
    torch.testing.assert_close(swapper(PICTURES), wanted, **exact)
    samples, plain_samples = (batch(['learn'])[1]['learn'] for _ in range(2))
    found = swapper(PICTURES, samples, mode='predict')
    for one, other in zip(found, plain(PICTURES, plain_samples, mode='predict'), strict=True):
        torch.testing.assert_close(one.pred_score, other.pred_score, **exact)
        assert torch.equal(one.pred_label, other.pred_label)
        assert one.metainfo['role'] == 'learn'


@pytest.mark.parametrize('config', [vit_host(), swin_host()], ids=['vit', 'swin'])
def test_gradients_of_the_first_step(config):
    swapper = build_swapper(config)
    swapper.schedule.phases[LEARN].weights['sparsity'] = 0.0
    _, gradients = step(swapper, *batch(ROLES[LEARN]))
    for name, gradient in gradients.items():
        assert (torch.count_nonzero(gradient) == 0) == ('.lora_A.' in name), name


@pytest.mark.parametrize('phase', range(4))
@pytest.mark.parametrize('config', [vit_host(), swin_host()], ids=['vit', 'swin'])
def test_fused_equals_separate(config, phase):
    results = {}
    for fuse in ('same_shape', 'always', 'never'):
        head = dict(old_classes=5, policy='new_rows', new_rows_init='xavier')
        swapper = randomise_adapters(build_swapper(config, fuse=fuse, head=head))
        passes = calls_of(swapper.host.backbone)
        results[fuse] = step(swapper, *batch(ROLES[phase], phase))
        roles = len(ROLES[phase])
        assert passes == ([4] * roles if fuse == 'never' else [4 * roles])
    assert_same(results['same_shape'], results['never'])
    assert_same(results['always'], results['never'])


def test_fused_pictures_lie_in_memory_once():
    inputs, samples = batch(ROLES[LEARN])
    before = {role: pictures.clone() for role, pictures in inputs.items()}
    step(build_swapper(), inputs, samples)
    assert len({pictures.untyped_storage().data_ptr() for pictures in inputs.values()}) == 1
    for role, pictures in before.items():
        assert torch.equal(inputs[role], pictures)


def test_features_of_a_role_are_free_after_its_loss(monkeypatch):
    swapper = build_swapper(fp32_losses=True)  # each role's features are a copy in fp32
    inputs, samples = batch(ROLES[LEARN])
    loss, seen, alive = swapper.host.loss, [], []

    def spy(pictures, role_samples):
        alive.append([reference() is not None for reference in seen])
        seen.append(weakref.ref(swapper.host.extract_feat(pictures)[0]))
        return loss(pictures, role_samples)

    monkeypatch.setattr(swapper.host, 'loss', spy)
    with torch.autocast('cpu', torch.bfloat16):
        swapper(inputs, samples, mode='loss')
    assert alive == [[], [False]]


def test_roles_of_different_length_get_their_own_features():
    inputs, samples = batch(ROLES[JOINT], JOINT)
    inputs['forget'], samples['forget'] = inputs['forget'][:1], samples['forget'][:1]
    results = []
    for fuse in ('same_shape', 'never'):
        swapper = randomise_adapters(build_swapper(fuse=fuse))
        results.append(step(swapper, inputs, samples))
    assert_same(*results)


def test_different_sizes():
    inputs, samples = batch(ROLES[LEARN])
    inputs['retain'] = torch.randn(4, 3, SIZE + 8, SIZE)
    reference = step(build_swapper(swin_host(), fuse='never'), inputs, samples)
    swapper = build_swapper(swin_host(), fuse='same_shape')
    passes = calls_of(swapper.host.backbone)
    assert_same(step(swapper, inputs, samples), reference)
    assert passes == [4, 4], 'images of different sizes are not fused'
    padded = build_swapper(swin_host(), fuse='always')
    pictures = [*inputs['learn'], *inputs['retain']]
    data = dict(inputs=pictures, data_samples=samples['learn'] + samples['retain'])
    data = padded.data_preprocessor(data, training=True)
    assert {t.shape for t in data['inputs'].values()} == {(4, 3, SIZE + 8, SIZE)}
    passes = calls_of(padded.host.backbone)
    data = (data['inputs'], data['data_samples'])
    found = step(padded, *data)
    assert passes == [8]
    assert_same(found, step(build_swapper(swin_host(), fuse='never'), *data))
    # Back to one size: fusing goes on.
    passes = calls_of(swapper.host.backbone)
    step(swapper, *batch(ROLES[LEARN]))
    assert passes == [8]


def test_a_host_that_does_not_call_extract_feat_falls_back():
    reference = step(build_swapper(fuse='never'), *batch(ROLES[LEARN]))
    swapper = build_swapper(other_host())
    passes = calls_of(swapper.host.backbone)
    for _ in range(2):
        assert_same(step(swapper, *batch(ROLES[LEARN])), reference)
    assert passes[-2:] == [4, 4] and len(passes) == 5, 'one fused pass is tried, then none'


def test_extract_feat_is_given_back_after_an_error():
    swapper = build_swapper()
    inputs, samples = batch(ROLES[LEARN])
    broken = copy.deepcopy(samples)
    broken['retain'][0].set_gt_label(99)
    with pytest.raises(IndexError):
        swapper(inputs, broken, mode='loss')
    assert 'extract_feat' not in vars(swapper.host)
    passes = calls_of(swapper.host.backbone)
    swapper(inputs, samples, mode='loss')
    assert passes == [8]


@pytest.mark.parametrize('phase', range(4))
def test_terms(phase):
    swapper = build_swapper()
    inputs, samples = batch(ROLES[phase], phase)
    terms = swapper(inputs, samples, mode='loss')
    chosen = swapper.schedule.phases[phase]
    for role in ROLES[phase]:
        losses = swapper.host.loss(inputs[role], samples[role])
        assert terms[f'{role}/raw'].item() == pytest.approx(losses['loss'].item(), rel=1e-6)
        assert not terms[f'{role}/raw'].requires_grad
        assert terms[f'{role}/accuracy_top-1'].item() == losses['accuracy_top-1'][0].item()
        weighted = chosen.weights[role] * (
            105 - losses['loss'] if role == 'forget' else losses['loss']
        )
        assert terms[f'loss_{role}'].item() == pytest.approx(weighted.item(), rel=1e-6)
    summed = {f'loss_{role}' for role in ROLES[phase]}
    if phase == LEARN:
        summed.add('loss_sparsity')
    assert {key for key in terms if 'loss' in key} == summed
    total, logs = swapper.parse_losses(terms)
    by_hand = sum(terms[key].item() for key in summed)
    assert total.item() == pytest.approx(by_hand, rel=1e-6)
    assert logs['loss'].item() == pytest.approx(by_hand, rel=1e-6)


def test_train_step_changes_the_adapters_alone():
    swapper = build_swapper()
    wrapper = build_optim_wrapper(
        swapper, dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
    )
    inputs, samples = batch(ROLES[LEARN])
    data = dict(
        inputs=torch.cat(list(inputs.values())) * 50 + 127,
        data_samples=[sample for role in samples for sample in samples[role]],
    )
    before = snapshot(swapper)
    swapper.train()
    for _ in range(2):
        logs = swapper.train_step(data, wrapper)
    assert {'loss', 'loss_learn', 'retain/raw'} <= set(logs)
    assert changed(before, snapshot(swapper)) == {f'host.{name}' for name in swapper.adapters}


def test_without_a_schedule_the_loss_is_an_error():
    swapper = build_swapper()
    swapper.schedule = None
    with pytest.raises(PhaseError, match='SwapRunner'):
        swapper(*batch(ROLES[LEARN]), mode='loss')
    assert swapper(PICTURES).shape == (4, 8), 'predicting needs no schedule'
    assert len(swapper(PICTURES, mode='predict')) == 4


def test_the_expand_phase_freezes_the_adapters():
    head = dict(old_classes=5, policy='new_rows')
    swapper = build_swapper(head=head)
    phases = swapper.schedule.phases
    everything = set(trainable(swapper))
    rows = {name for name in everything if '.parametrizations.' in name}
    assert len(rows) == 2 and len(everything) == 8 + 2
    assert not swapper.set_trainable(phases[LEARN])
    assert swapper.set_trainable(phases[EXPAND])
    assert set(trainable(swapper)) == rows
    assert not swapper.set_trainable(phases[EXPAND])
    _, gradients = step(swapper, *batch(ROLES[EXPAND], EXPAND))
    assert set(gradients) == rows
    assert swapper.set_trainable(phases[FORGET])
    assert set(trainable(swapper)) == everything


@pytest.mark.parametrize('policy', ['frozen', 'all'])
def test_the_expand_phase_needs_new_rows(policy):
    swapper = new_swapper(head=dict(old_classes=5, policy=policy))
    with pytest.raises(ConfigError, match=r'model\.head\.policy'):
        swapper.set_trainable(swapper.schedule.phases[EXPAND])


def test_batch_norms_keep_their_statistics():
    swapper = build_swapper(resnet_host(), lora=dict(targets=r'.*layer4\.\d\.conv\d'))
    before = snapshot(swapper)
    swapper.train()
    norms = [module for module in swapper.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 20 and not any(norm.training for norm in norms)
    assert swapper.training and swapper.host.backbone.layer4.training
    swapper(*batch(ROLES[LEARN]), mode='loss')
    assert not changed(before, snapshot(swapper))
    swapper.eval().train()
    assert not any(norm.training for norm in norms)


def test_init_weights_does_not_touch_anything():
    swapper = randomise_adapters(build_swapper())
    before = snapshot(swapper)
    swapper.init_weights()
    assert not changed(before, snapshot(swapper))


def test_the_config_is_left_alone():
    config = vit_host()
    settings = dict(lora=dict(rank=2), head=dict(old_classes=5), loss=None)
    kept = copy.deepcopy((config, settings))
    KnowledgeSwapper(config, **settings)
    assert (config, settings) == kept


def test_the_data_preprocessor_of_the_config_reaches_the_host():
    host = vit_host()
    preprocessor = host.pop('data_preprocessor')
    swapper = KnowledgeSwapper(host, lora=dict(), data_preprocessor=preprocessor)
    assert swapper.host.data_preprocessor.mean.flatten().tolist() == [127.5] * 3
    own = KnowledgeSwapper(vit_host(), lora=dict(), data_preprocessor=dict(type='nothing'))
    assert own.host.data_preprocessor.mean.flatten().tolist() == [127.5] * 3


@pytest.mark.parametrize(
    'settings, key',
    [
        (dict(fuse='sometimes'), 'model.fuse'),
        (dict(lora=dict(rang=8)), 'model.lora.rang'),
        (dict(lora=dict(targets='nothing')), 'model.lora.targets'),
        (dict(lora=None), 'model.lora'),
        (
            dict(loss=dict(type='knowswap_mm.SwappingLoss', group_by='x')),
            'model.loss.group_by',
        ),
    ],
)
def test_bad_settings(settings, key):
    with pytest.raises(ConfigError) as error:
        new_swapper(**settings)
    assert error.value.key == key


@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
def test_a_copy_is_independent(policy):
    head = dict(old_classes=5, policy=policy, new_rows_init='xavier')
    swapper = randomise_adapters(build_swapper(head=head))
    twin = copy.deepcopy(swapper)
    kept = snapshot(swapper)
    assert not changed(kept, snapshot(twin))
    shared = {p.data_ptr() for p in swapper.parameters()} & {
        p.data_ptr() for p in twin.parameters()
    }
    assert not shared
    inputs, samples = batch(ROLES[LEARN])
    reference = step(swapper, inputs, samples)
    assert_same(step(twin, inputs, samples), reference, 0)
    optimizer = torch.optim.AdamW(trainable(twin).values(), lr=0.1, weight_decay=0.05)
    optimizer.step()
    assert not changed(kept, snapshot(swapper))
    moved = changed(kept, snapshot(twin))
    assert {name.removeprefix('host.') for name in moved if 'lora' in name} == set(swapper.adapters)
    assert any('head' in name for name in moved) == (policy != 'frozen')
    # What is loaded into the copy stays in the copy.
    other = {key: value + 1 for key, value in kept.items()}
    twin.load_state_dict(other)
    assert not changed(kept, snapshot(swapper))
    assert not changed(other, snapshot(twin))
    # The sparse term of the copy looks at the matrices of the copy.
    assert {id(p) for p in twin.swapping_loss.sparsity.groups.parameters} == {
        id(p) for p in twin.adapters.values()
    }


def test_the_swapper_is_built_from_its_registry_name():
    model = MODELS.build(
        dict(
            type='knowswap_mm.KnowledgeSwapper',
            host=vit_host(),
            lora=dict(),
            head=dict(policy='frozen'),
        )
    )
    assert isinstance(model, KnowledgeSwapper)
    assert Counter(len(p.shape) for p in trainable(model).values()) == {2: 8}


@pytest.mark.parametrize('build', [vit_host, swin_host])
def test_predictions_in_bfloat16(build):
    swapper = randomise_adapters(build_swapper(build(), predict_dtype='bfloat16')).eval()
    plain = randomise_adapters(build_swapper(build())).eval()
    plain.load_state_dict(swapper.state_dict())
    inputs, samples = batch(['learn'])
    seen = []
    swapper.host.backbone.register_forward_hook(
        lambda *_: seen.append(torch.is_autocast_enabled('cpu'))
    )
    with torch.no_grad():
        low, full = (
            model(inputs['learn'], copy.deepcopy(samples['learn']), mode='predict')
            for model in (swapper, plain)
        )
    assert seen == [True]
    scores = [torch.stack([sample.pred_score for sample in found]) for found in (low, full)]
    assert not torch.equal(*scores)
    torch.testing.assert_close(scores[0].float(), scores[1], rtol=0, atol=0.03)


def test_heads_predict_in_fp32_if_their_losses_do():
    swapper = build_swapper(vit_host(), predict_dtype='bfloat16', fp32_losses=True).eval()
    seen = []
    swapper.host.head.register_forward_pre_hook(lambda _, args: seen.append(args[0][-1].dtype))
    inputs, samples = batch(['learn'])
    with torch.no_grad():
        swapper(inputs['learn'], samples['learn'], mode='predict')
    assert swapper.fused.supported
    assert all(dtype == torch.float32 for dtype in seen)


def test_unknown_type_of_predictions(raises_config_error):
    with raises_config_error('model.predict_dtype', 'int8', 'autocast'):
        new_swapper(predict_dtype='int8')
