import pytest
import torch
from mmengine.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode

from knowswap_mm.errors import ConfigError
from knowswap_mm.models import RoleDataPreprocessor
from knowswap_mm.models.preprocessor import role_spans
from tests.helpers.tiny_hosts import (
    OLD,
    TOTAL,
    batch,
    build_host,
    build_swapper,
    randomise_adapters,
    vit_host,
)

ROLES = ('learn', 'forget', 'retain')


def mixing_host(kind):
    host = vit_host(train_cfg=dict(augments=[dict(type=kind, alpha=1.0)]))
    host['data_preprocessor'] |= dict(num_classes=TOTAL)
    host['head']['cal_acc'] = False
    # Labels with scores, as Mixup makes them.
    host['head']['loss'] = dict(type='mmpretrain.CrossEntropyLoss', use_soft=True)
    return host


def as_batch(inputs, samples, collate):
    pictures = torch.cat(list(inputs.values()))
    return dict(
        inputs=pictures if collate == 'default_collate' else list(pictures),
        data_samples=[sample for role in samples for sample in samples[role]],
    )


@pytest.mark.parametrize('collate', ['default_collate', 'pseudo_collate'])
def test_roles_are_split_in_the_order_of_the_batch(collate):
    host = MODELS.build(vit_host()).data_preprocessor
    inputs, samples = batch(ROLES)
    done = RoleDataPreprocessor(host)(as_batch(inputs, samples, collate), training=True)
    assert list(done['inputs']) == list(done['data_samples']) == list(ROLES)
    for role in ROLES:
        torch.testing.assert_close(done['inputs'][role], (inputs[role] - 127.5) / 127.5)
        assert all(a is b for a, b in zip(done['data_samples'][role], samples[role], strict=True))


@pytest.mark.parametrize('collate', ['default_collate', 'pseudo_collate'])
def test_pictures_and_labels_go_to_the_device_in_one_copy(collate):
    """On `meta`, which takes copies as an accelerator does; the batch itself stays where it is."""
    preprocessor = RoleDataPreprocessor(MODELS.build(vit_host()).data_preprocessor.to('meta'))
    data = as_batch(*batch(ROLES), collate)
    copied = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if function.overloadpacket is torch.ops.aten._to_copy and 'device' in kwargs:
                copied.append((tuple(args[0].shape), kwargs['device'].type))
            return function(*args, **kwargs)

    with Copies():
        done = preprocessor(data, training=True)
    pictures = [((12, 3, 16, 16), 'meta')] if collate == 'default_collate' else []
    pictures = pictures or [((3, 16, 16), 'meta')] * 12
    assert copied == [((12,), 'meta'), *pictures]
    for role in ROLES:
        assert done['inputs'][role].shape == (4, 3, 16, 16)
        assert done['inputs'][role].device.type == 'meta'
        labels = [sample.gt_label for sample in done['data_samples'][role]]
        assert {(label.device.type, label.shape) for label in labels} == {('meta', (1,))}
    assert all(picture.device.type == 'cpu' for picture in data['inputs'])


def test_other_batches_go_to_the_host_as_they_are():
    preprocessor = RoleDataPreprocessor(MODELS.build(vit_host()).data_preprocessor)
    inputs, samples = batch(ROLES)
    validation = preprocessor(as_batch(inputs, samples, 'default_collate'), training=False)
    assert validation['inputs'].shape[0] == 12 and len(validation['data_samples']) == 12
    bare = preprocessor(dict(inputs=inputs['learn']), training=True)
    assert bare['inputs'].shape == inputs['learn'].shape and bare['data_samples'] is None


def test_pictures_are_padded_within_their_role():
    host = vit_host()
    inputs, samples = batch(ROLES[:2])
    pictures = [torch.ones(3, 16, 16)] * 4 + [torch.ones(3, 16, 24)] + [torch.ones(3, 24, 16)] * 3
    data = dict(inputs=pictures, data_samples=samples['learn'] + samples['forget'])
    done = RoleDataPreprocessor(MODELS.build(host).data_preprocessor)(data, training=True)
    assert done['inputs']['learn'].shape == (4, 3, 16, 16)
    assert done['inputs']['forget'].shape == (4, 3, 24, 24)


def test_together_all_roles_get_one_size():
    inputs, samples = batch(ROLES[:2])
    pictures = [torch.ones(3, 16, 16)] * 4 + [torch.ones(3, 16, 24)] + [torch.ones(3, 24, 16)] * 3
    data = dict(inputs=pictures, data_samples=samples['learn'] + samples['forget'])
    host = MODELS.build(vit_host()).data_preprocessor
    done = RoleDataPreprocessor(host, together=True)(data, training=True)
    assert {t.shape for t in done['inputs'].values()} == {(4, 3, 24, 24)}
    assert done['data_samples']['forget'] == samples['forget']


def test_together_with_batch_augmentations_is_refused():
    with pytest.raises(ConfigError, match=r"model\.fuse = 'always'.*mix the roles.*Fix: use"):
        build_swapper(mixing_host('Mixup'), fuse='always')


def test_a_scattered_role_is_an_error():
    _, samples = batch(ROLES[:2])
    mixed = [samples['learn'][0], samples['forget'][0], samples['learn'][1]]
    with pytest.raises(ValueError, match="'learn' is scattered"):
        role_spans(mixed)
    assert role_spans(None) == role_spans([]) == {}


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_batch_augmentations_never_mix_roles(kind):
    torch.manual_seed(0)
    swapper = build_swapper(mixing_host(kind))
    values = dict(learn=100.0, retain=200.0)
    mixed = 0
    for seed in range(5):
        inputs, samples = batch(values, seed=seed)
        for role, value in values.items():
            # Every image has its own value, and no value belongs to both roles.
            inputs[role] = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16) + value
        data = as_batch(inputs, samples, 'default_collate')
        done = swapper.data_preprocessor(data, training=True)
        for role, value in values.items():
            raw = done['inputs'][role] * 127.5 + 127.5
            assert raw.min() > value - 1e-3 and raw.max() < value + 3.001
            mixed += (raw - inputs[role]).abs().max().item() > 1e-3
            scores = torch.stack([sample.gt_score for sample in done['data_samples'][role]])
            assert scores.sum(1).allclose(torch.ones(4))
            foreign = scores[:, :OLD] if role == 'learn' else scores[:, OLD:]
            assert torch.count_nonzero(foreign) == 0
    assert mixed >= 5, 'the augmentation should do something'
    terms = swapper(done['inputs'], done['data_samples'], mode='loss')
    assert terms['loss_learn'] > 0 and terms['loss_retain'] > 0


@pytest.mark.parametrize('classes', [TOTAL])
def test_test_step_gives_what_the_host_gives(classes):
    swapper = randomise_adapters(build_swapper(head=None)).eval()
    plain = build_host(vit_host(classes))
    inputs, samples = batch(['retain'])
    data = dict(inputs=inputs['retain'] * 50 + 127, data_samples=samples['retain'])
    wanted = plain.test_step(dict(data, data_samples=batch(['retain'])[1]['retain']))
    changed_by_adapter = swapper.test_step(data)
    fresh = build_swapper(head=None).eval()
    found = fresh.test_step(dict(data, data_samples=batch(['retain'])[1]['retain']))
    for one, other, third in zip(found, wanted, changed_by_adapter, strict=True):
        assert torch.equal(one.pred_score, other.pred_score)
        assert not torch.allclose(third.pred_score, other.pred_score)
