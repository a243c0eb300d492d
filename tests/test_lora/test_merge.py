import pytest
import torch
from peft.functional import inject_adapter_in_model

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora import AdapterFile, LoRAInjector, merge_adapters
from knowswap_mm.lora.injector import lora_layers
from tests.helpers.tiny_hosts import (
    batch,
    build_host,
    build_swapper,
    randomise_adapters,
    resnet_host,
    swin_host,
    vit_host,
)

PICTURES = batch(['learn'])[0]['learn']


def tree(model):
    return [(name, type(module)) for name, module in model.named_modules()]


@pytest.mark.parametrize(
    'config, targets',
    [
        (vit_host(), {}),
        (swin_host(), {}),
        (resnet_host(), dict(targets=r'.*layer[34].*conv\d')),
        (vit_host(), dict(targets=r'.*(qkv|proj|projection)', alpha=16)),
    ],
    ids=['vit', 'swin', 'convolutions', 'attention'],
)
def test_merged_equals_unmerged_and_has_the_tree_of_the_host(config, targets):
    plain = build_host(config)
    model = LoRAInjector(**targets).inject(build_host(config))
    before = model(PICTURES)
    torch.testing.assert_close(before, plain(PICTURES), rtol=0, atol=0)
    unmerged = randomise_adapters(model).eval()(PICTURES)
    assert (unmerged - before).abs().max() > 1e-3, 'the adapter should change something'
    merged = merge_adapters(model)
    assert merged is model
    torch.testing.assert_close(merged(PICTURES), unmerged, rtol=1e-5, atol=1e-5)
    assert tree(merged) == tree(plain)
    assert list(merged.state_dict()) == list(plain.state_dict())
    assert not list(lora_layers(merged))
    plain.load_state_dict(merged.state_dict(), strict=True)
    assert torch.equal(plain(PICTURES), merged(PICTURES))


def test_all_active_adapters_are_merged():
    """Some layers have one, some two, and one adapter is at rest."""
    model = LoRAInjector().inject(build_host(vit_host()))
    one_layer = LoRAInjector(targets=r'.*layers\.1\.ffn\.layers\.1').peft_config()
    for name in ('second', 'third'):
        inject_adapter_in_model(one_layer, model, adapter_name=name)
    randomise_adapters(model).eval()
    results = {}
    for active in (['default'], ['default', 'second']):
        for _, layer in lora_layers(model):
            layer.set_adapter([name for name in active if name in layer.lora_A])
        results[len(active)] = model(PICTURES)
    assert (results[1] - results[2]).abs().max() > 1e-3
    torch.testing.assert_close(merge_adapters(model)(PICTURES), results[2], rtol=1e-5, atol=1e-5)


def test_only_adapted_weights_change():
    plain = build_host(vit_host())
    merged = merge_adapters(randomise_adapters(LoRAInjector().inject(build_host(vit_host()))))
    old, new = plain.state_dict(), merged.state_dict()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {
        f'backbone.layers.{i}.ffn.layers.{j}.weight' for i in (0, 1) for j in ('0.0', 1)
    }


def test_weights_are_w_plus_scaled_b_a():
    model = randomise_adapters(LoRAInjector(rank=3, alpha=2).inject(build_host(vit_host())))
    name, layer = next(lora_layers(model))
    wanted = layer.base_layer.weight + 2 / 3 * (
        layer.lora_B['default'].weight @ layer.lora_A['default'].weight
    )
    found = merge_adapters(model).get_submodule(name).weight
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_an_adapter_that_is_not_finite_is_not_merged():
    model = LoRAInjector().inject(build_host(vit_host()))
    name, layer = list(lora_layers(model))[-1]
    with torch.no_grad():
        layer.lora_B['default'].weight[0, 0] = torch.inf
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=name):
        merge_adapters(model)
    # Refused as a whole: the layers before the broken one are not merged either.
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in before.items())


def test_a_merged_model_has_no_adapter_to_save(tmp_path):
    swapper = build_swapper()
    merge_adapters(swapper.host)
    with pytest.raises(CheckpointError, match='no adapter'):
        AdapterFile(tmp_path).save(swapper)
