import pytest
from mmengine.registry import MODELS
from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAGroups, LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters
from tests.helpers.tiny_hosts import build_host, dino_host, swin_host, vit_host


def adapted(config):
    return LoRAInjector().inject(build_host(config))


def members(groups, model):
    """Names of the matrices by group."""
    names = {id(parameter): name for name, parameter in adapter_parameters(model).items()}
    found = {name: set() for name in groups.names}
    for parameter, position in zip(groups.parameters, groups.membership, strict=True):
        found[groups.names[position]].add(names[id(parameter)])
    return found


def expected(blocks):
    return {
        block: {
            f'{block}.ffn.layers.{linear}.lora_{part}.default.weight'
            for linear in ('0.0', '1')
            for part in 'AB'
        }
        for block in blocks
    }


VIT_BLOCKS = ['backbone.layers.0', 'backbone.layers.1']
SWIN_BLOCKS = [f'backbone.stages.{i}.blocks.{j}' for i, j in ((0, 0), (0, 1), (1, 0))]


@pytest.mark.parametrize('config, blocks', [(vit_host(), VIT_BLOCKS), (swin_host(), SWIN_BLOCKS)])
def test_blocks(config, blocks):
    model = adapted(config)
    groups = LoRAGroups(model)
    assert groups.names == blocks and len(groups) == len(blocks)
    assert members(groups, model) == expected(blocks)


@pytest.mark.parametrize('config, blocks', [(vit_host(), VIT_BLOCKS), (swin_host(), SWIN_BLOCKS)])
def test_single_loras_and_matrices(config, blocks):
    model = adapted(config)
    by_lora = members(LoRAGroups(model, 'lora'), model)
    assert set(by_lora) == {f'{b}.ffn.layers.{j}' for b in blocks for j in ('0.0', '1')}
    for name, matrices in by_lora.items():
        assert matrices == {f'{name}.lora_{part}.default.weight' for part in 'AB'}
    by_matrix = members(LoRAGroups(model, 'matrix'), model)
    assert len(by_matrix) == 4 * len(blocks)
    assert {m for ms in by_matrix.values() for m in ms} == set(adapter_parameters(model))
    assert all(len(matrices) == 1 for matrices in by_matrix.values())


def test_a_linear_outside_of_any_list_is_grouped_with_its_neighbours():
    model = LoRAInjector(r'.*(projection|ffn\.layers\.1)').inject(build_host(vit_host()))
    assert LoRAGroups(model).names == ['backbone.patch_embed', *VIT_BLOCKS]


def test_exclude():
    model = adapted(vit_host())
    assert LoRAGroups(model, exclude=[r'layers\.1\.ffn']).names == VIT_BLOCKS[:1]
    only_second = LoRAGroups(model, exclude=(r'ffn\.layers\.0\.0$',))
    assert only_second.names == VIT_BLOCKS and len(only_second.parameters) == 4


@pytest.mark.parametrize(
    'arguments, key',
    [
        (dict(by='layer'), 'model.loss.group_by'),
        (dict(exclude=['backbone']), 'model.loss.group_exclude'),
        (dict(exclude=['(']), 'model.loss.group_exclude'),
        (dict(exclude='decoder'), 'model.loss.group_exclude'),
        (dict(exclude=[3]), 'model.loss.group_exclude'),
    ],
)
def test_errors(arguments, key):
    with pytest.raises(ConfigError) as error:
        LoRAGroups(adapted(vit_host()), **arguments)
    assert error.value.key == key


def test_a_model_without_adapters_is_an_error():
    with pytest.raises(ConfigError, match='inject adapters first'):
        LoRAGroups(build_host(vit_host()))


def test_blocks_of_a_detector():
    model = LoRAInjector().inject(MODELS.build(dino_host()))
    swin = [f'backbone.stages.{i}.blocks.{j}' for i, j in ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0))]
    encoder = [f'encoder.layers.{i}' for i in range(2)]
    decoder = [f'decoder.layers.{i}' for i in range(3)]
    groups = LoRAGroups(model)
    assert groups.names == swin + encoder + decoder
    assert members(groups, model) == expected(groups.names)
    # The official code leaves the decoder out of the sparse term.
    assert LoRAGroups(model, exclude=['^decoder']).names == swin + encoder


def test_blocks_in_a_sequential_are_groups_of_their_own():
    """ConvNeXt's stages are a list of `Sequential`: the block is the element of the latter."""
    block = [nn.Module() for _ in range(2)]
    for each in block:
        each.up, each.down = nn.Linear(4, 8), nn.Linear(8, 4)
    model = nn.Module()
    model.stages = nn.ModuleList([nn.Sequential(*block)])
    groups = LoRAGroups(LoRAInjector(rank=2).inject(model))
    assert groups.names == ['stages.0.0', 'stages.0.1']
    assert groups.membership == [0] * 4 + [1] * 4
