import copy
import math

import pytest
import torch
from mmengine.registry import MODELS

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import merge_adapters
from knowswap_mm.lora.injector import lora_layers
from tests.helpers.tiny_hosts import (
    batch,
    build_host,
    build_swapper,
    changed,
    randomise,
    randomise_adapters,
    snapshot,
    swin_host,
    trainable,
    vit_host,
)

PICTURES, SAMPLES = (part['retain'] for part in batch(['retain']))
HOSTS = [vit_host(), swin_host()]


def slot_in(config, lora=None, **changes):
    config = copy.deepcopy(config) | changes
    backbone = dict(type='knowswap_mm.LoRABackbone', backbone=config['backbone'], lora=lora)
    return config | dict(backbone=backbone)


@pytest.fixture(params=HOSTS, ids=['vit', 'swin'])
def config(request):
    return request.param


def test_plain_weights_load_and_give_the_host(config):
    model = MODELS.build(slot_in(config))
    model.init_weights()
    plain = build_host(config)
    result = model.load_state_dict(plain.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(model.eval()(PICTURES), plain(PICTURES))
    adapters = {name for name in trainable(model) if name.startswith('backbone.')}
    assert adapters == {n for n, _ in model.named_parameters() if '.lora_' in n}
    assert {n for n in trainable(model) if n not in adapters} == {
        n for n, _ in model.named_parameters() if n.startswith('head.')
    }


def test_strict_both_ways(config):
    model = MODELS.build(slot_in(config))
    state = build_host(config).state_dict()
    key = [key for key in state if '.ffn.' in key][0]
    with pytest.raises(RuntimeError, match='Missing key'):
        model.load_state_dict({k: v for k, v in state.items() if k != key})
    with pytest.raises(RuntimeError, match='Unexpected key'):
        model.load_state_dict(state | {'backbone.extra': torch.zeros(1)})


def test_its_own_weights_load(config):
    source = randomise(MODELS.build(slot_in(config)))
    target = MODELS.build(slot_in(config))
    target.load_state_dict(source.state_dict(), strict=True)
    assert not changed(snapshot(source), snapshot(target))


def test_it_trains_as_a_part_of_an_ordinary_classifier(config):
    model = MODELS.build(slot_in(config))
    model.load_state_dict(build_host(config).state_dict())
    before = snapshot(model)
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.05)
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        model.loss(PICTURES, SAMPLES)['loss'].backward()
        optimizer.step()
    moved = changed(before, snapshot(model))
    assert moved == set(trainable(model)) and any('.lora_A.' in name for name in moved)


def test_merged_it_is_the_host_behind_one_prefix(config):
    model = MODELS.build(slot_in(config))
    plain = build_host(config)
    model.load_state_dict(plain.state_dict())
    randomise_adapters(model).eval()
    unmerged = model(PICTURES)
    assert (unmerged - plain(PICTURES)).abs().max() > 1e-3
    merge_adapters(model)
    torch.testing.assert_close(model(PICTURES), unmerged, rtol=1e-5, atol=1e-5)
    state = {k.replace('backbone.backbone.', 'backbone.'): v for k, v in model.state_dict().items()}
    plain.load_state_dict(state, strict=True)
    torch.testing.assert_close(plain(PICTURES), unmerged, rtol=1e-5, atol=1e-5)


def test_an_initialisation_of_all_linears_spares_the_adapters(config):
    """Swin configs of the host initialise every linear of the model, adapters among them."""
    init_cfg = [dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0)]
    model = MODELS.build(slot_in(config, init_cfg=init_cfg))
    model.init_weights()
    for _, layer in lora_layers(model):
        bound = math.sqrt(3 * 2 / 51 / layer.in_features)
        assert torch.count_nonzero(layer.lora_B['default'].weight) == 0
        assert 0.9 * bound < layer.lora_A['default'].weight.abs().max() <= bound


def test_pretrained_weights_of_the_backbone(tmp_path):
    """`init_cfg` of a backbone names a file of plain weights; the model's own comes first."""
    config = swin_host()
    plain = build_host(config)
    state = {f'backbone.{key}': value for key, value in plain.backbone.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'backbone.pth')
    config['backbone']['init_cfg'] = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'), prefix='backbone'
    )
    init_cfg = [dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0)]
    model = MODELS.build(slot_in(config, init_cfg=init_cfg))
    model.init_weights()
    found, wanted = (m.eval().extract_feat(PICTURES)[0] for m in (model, plain))
    assert torch.equal(found, wanted)


def test_a_pattern_that_matches_nothing(config):
    with pytest.raises(ConfigError, match=r'model\.lora\.targets'):
        MODELS.build(slot_in(config, dict(targets='fc1')))
    with pytest.raises(ConfigError, match=r'model\.lora\.rang'):
        MODELS.build(slot_in(config, dict(rang=1)))


def test_as_the_host_of_a_swapper(config):
    inside = build_swapper(slot_in(config), lora=None)
    around = build_swapper(config)
    assert set(trainable(inside)) == {f'host.{name}' for name in inside.adapters}
    for (name, ours), theirs in zip(inside.adapters.items(), around.adapters.values(), strict=True):
        assert name.startswith('backbone.backbone.')
        with torch.no_grad():
            theirs.copy_(ours)
    rows = [tensor.name for tensor in inside.class_rows.tensors]
    with torch.no_grad():
        for name in rows:
            around.host.state_dict()[name].copy_(inside.host.state_dict()[name])
    assert [t.name for t in around.class_rows.tensors] == rows
    terms, wanted = (model(*batch(('learn', 'retain')), mode='loss') for model in (inside, around))
    assert terms.keys() == wanted.keys()
    for key in terms:
        torch.testing.assert_close(terms[key], wanted[key], rtol=1e-6, atol=1e-6)
    assert len(inside.swapping_loss.sparsity.groups) == len(around.swapping_loss.sparsity.groups)
