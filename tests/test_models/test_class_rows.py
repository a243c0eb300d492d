import copy

import pytest
import torch
from mmengine.registry import MODELS

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.models import ClassRows, KnowledgeSwapper
from tests.helpers.tiny_hosts import (
    OLD,
    TOTAL,
    batch,
    build_host,
    build_swapper,
    dino_host,
    new_swapper,
    resnet_host,
    snapshot,
    swin_host,
    vit_host,
)

HEADS = {'vit': (vit_host, 'head.layers.head'), 'swin': (swin_host, 'head.fc')}


@pytest.fixture(params=HEADS)
def head(request):
    return HEADS[request.param]


def found(config, **arguments):
    rows = ClassRows(MODELS.build(copy.deepcopy(config)), config, **arguments)
    return {tensor.name: tensor.tail for tensor in rows.tensors}


def test_found_by_construction(head):
    config, name = head
    assert found(config()) == {f'{name}.weight': 0, f'{name}.bias': 0}
    assert found(resnet_host()) == {'head.fc.weight': 0, 'head.fc.bias': 0}


def test_a_head_of_its_own_size_is_no_accident():
    """32 classes on 32 channels: only the first dimension counts."""
    assert found(vit_host(32)) == {'head.layers.head.weight': 0, 'head.layers.head.bias': 0}


def test_found_in_a_detector():
    names = found(dino_host())
    assert 'dn_query_generator.label_embedding.weight' in names
    heads = {name for name in names if name.startswith('bbox_head.cls_branches.')}
    assert len(heads) == 8 and len(names) == 9  # three decoder layers and the encoder's proposals
    assert set(names.values()) == {0}


def test_a_detector_grows_and_trains_its_new_rows():
    settings = dict(old_classes=80, policy='new_rows')
    swapper = KnowledgeSwapper(dino_host(84), lora=dict(), head=settings)
    before = snapshot(swapper)
    plain = build_host(dino_host(80)).state_dict()
    swapper.load_state_dict(plain)
    for tensor in swapper.class_rows.tensors:
        whole = swapper.state_dict()[f'host.{tensor.name}']
        assert torch.equal(whole[:80], plain[tensor.name])
        assert torch.equal(whole[80:], before[f'host.{tensor.name}'][80:])
    rows = {n: p.shape[0] for n, p in swapper.named_parameters() if p.requires_grad}
    rows = {name: count for name, count in rows.items() if '.lora_' not in name}
    assert len(rows) == 9 and set(rows.values()) == {4}


def test_building_the_twin_leaves_the_random_stream_alone():
    host = MODELS.build(vit_host())
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    ClassRows(host, vit_host())
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize('config', [vit_host(), swin_host()])
@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
def test_old_rows_are_loaded_and_new_rows_kept(config, policy):
    head = dict(old_classes=OLD, new_rows_init='xavier', policy=policy)
    swapper = new_swapper(config, head=head)
    before = snapshot(swapper)
    old = copy.deepcopy(config)
    old['head']['num_classes'] = OLD
    plain = build_host(old).state_dict()
    assert not swapper.load_state_dict(plain, strict=True).missing_keys
    after = swapper.state_dict()
    for tensor in swapper.class_rows.tensors:
        key = f'host.{tensor.name}'
        assert after[key].shape[0] == TOTAL
        assert torch.equal(after[key][:OLD], plain[tensor.name])
        assert torch.equal(after[key][OLD:], before[key][OLD:])


def test_a_checkpoint_in_half_precision_does_not_round_the_new_rows():
    swapper = new_swapper()
    before = snapshot(swapper)
    swapper.load_state_dict(build_host(vit_host(OLD)).half().state_dict())
    for key, tensor in swapper.state_dict().items():
        assert tensor.dtype == torch.float32
        if '.head.' in key:
            assert torch.equal(tensor[OLD:], before[key][OLD:])


def test_a_checkpoint_with_all_classes_loads_as_it_is():
    swapper = new_swapper()
    plain = build_host(vit_host(TOTAL)).state_dict()
    swapper.load_state_dict(plain)
    for tensor in swapper.class_rows.tensors:
        assert torch.equal(swapper.host.state_dict()[tensor.name], plain[tensor.name])


@pytest.mark.parametrize('classes', [1, OLD - 1, OLD + 1, TOTAL + 1])
@pytest.mark.parametrize('policy', ['frozen', 'new_rows'])
def test_another_number_of_rows_is_an_error_with_the_numbers(classes, policy):
    swapper = new_swapper(head=dict(old_classes=OLD, policy=policy))
    with pytest.raises(CheckpointError) as error:
        swapper.load_state_dict(build_host(vit_host(classes)).state_dict())
    message = str(error.value)
    assert f'({classes}, 32)' in message or f'({classes},)' in message
    assert f'({TOTAL}, 32)' in message or f'({TOTAL},)' in message
    assert f'model.head.old_classes = {OLD}' in message
    assert f'to the classes of the checkpoint ({classes})' in message


def test_another_width_is_an_error():
    swapper = new_swapper()
    state = build_host(vit_host(OLD)).state_dict()
    state['head.layers.head.weight'] = torch.zeros(OLD, 33)
    with pytest.raises(CheckpointError, match=r'\(5, 33\)'):
        swapper.load_state_dict(state)


def rows_of(how):
    swapper = new_swapper(head=dict(old_classes=OLD, new_rows_init=how))
    return swapper.host.head.layers.head


def test_new_rows_from_xavier():
    head = rows_of('xavier')
    new, bias = head.weight[OLD:], head.bias[OLD:]
    bound = (6 / (32 + TOTAL - OLD)) ** 0.5  # over the new rows alone, as the official code draws
    assert 0.9 * bound < new.abs().max() <= bound
    assert torch.count_nonzero(bias) == 0
    assert torch.count_nonzero(head.weight[:OLD]) == 0, 'old rows as the ViT head starts: zero'


def test_new_rows_as_zeros_or_as_the_host_has_them():
    assert torch.count_nonzero(rows_of('zeros').weight[OLD:]) == 0
    torch.manual_seed(3)
    plain = MODELS.build(swin_host())
    plain.init_weights()
    for how, same in (('host', True), ('zeros', False), ('xavier', False)):
        swapper = new_swapper(swin_host(), 3, head=dict(old_classes=OLD, new_rows_init=how))
        weight = swapper.host.head.fc.weight
        assert torch.equal(weight[:OLD], plain.head.fc.weight[:OLD])
        assert torch.equal(weight[OLD:], plain.head.fc.weight[OLD:]) == same


@pytest.mark.parametrize('value', [0, -1, TOTAL + 1, '5', 5.0, True])
def test_bad_old_classes(value):
    with pytest.raises(ConfigError, match=r'model\.head\.old_classes') as error:
        new_swapper(head=dict(old_classes=value))
    assert str(TOTAL) in str(error.value)


@pytest.mark.parametrize(
    'head, key',
    [
        (dict(new_rows_init='ones'), 'model.head.new_rows_init'),
        (dict(policy='rows'), 'model.head.policy'),
        (dict(policy='new_rows'), 'model.head.policy'),
        (dict(polcy='all'), 'model.head.polcy'),
        (dict(count_keys=('classes',)), 'model.host'),
    ],
)
def test_bad_head_settings(head, key):
    with pytest.raises(ConfigError) as error:
        new_swapper(head=head)
    assert error.value.key == key


def test_heads_that_disagree_are_an_error():
    host = vit_host(train_cfg=dict(augments=[dict(type='Mixup', alpha=1.0, num_classes=9)]))
    with pytest.raises(ConfigError, match=r'\[8, 9\]'):
        ClassRows(MODELS.build(vit_host()), host)


def test_an_adapter_on_a_class_indexed_tensor_is_refused():
    with pytest.raises(ConfigError, match=r'model\.lora\.targets.*head\.layers\.head'):
        new_swapper(lora=dict(targets=r'.*(ffn\.layers\.1|layers\.head)'))


def test_growth_leaves_the_checkpoint_usable():
    state = build_host(vit_host(OLD)).state_dict()
    kept = {key: tensor.clone() for key, tensor in state.items()}
    build_swapper().load_state_dict(state)
    assert list(state) == list(kept)
    assert all(torch.equal(state[key], kept[key]) for key in kept)
    pictures = batch(['learn'])[0]['learn']
    assert build_swapper().eval()(pictures).shape == (4, TOTAL)
