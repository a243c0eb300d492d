import copy

import pytest
import torch

from knowswap_mm.acceleration import ClassTokenOnly
from knowswap_mm.acceleration.class_token_only import ClassTokenBlock
from tests.helpers.steps import LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    randomise_adapters,
    swin_host,
    vit_backbone,
    vit_host,
)

DATA = batch(ROLES[LEARN])
PICTURES = DATA[0]['learn']
BLOCKS = dict(type='knowswap_mm.CompiledBlocks', backend='eager')


def swapper_of(*accelerations, lora=None, **backbone):
    host = vit_host(backbone=vit_backbone(3) | backbone)
    settings = {} if lora is None else dict(lora=lora)
    built = build_swapper(host, accelerations=list(accelerations), **settings)
    return randomise_adapters(built).train()


@pytest.mark.parametrize(
    'others', [[], ['PackedAttention', 'LeanLoRA'], [BLOCKS]], ids=['alone', 'packed', 'compiled']
)
@pytest.mark.parametrize(
    'backbone',
    [
        {},
        dict(layer_scale_init_value=0.1),
        dict(final_norm=False),
        dict(qkv_bias=False),
        dict(lora=dict(targets=['qkv'])),
    ],
    ids=str,
)
def test_losses_gradients_and_outputs_are_equal(others, backbone):
    torch._dynamo.reset()
    plain, fast = swapper_of(**backbone), swapper_of('ClassTokenOnly', *others, **backbone)
    assert fast.accelerated['ClassTokenOnly'] == 1
    sizes = []
    fast.host.backbone.layers[-1].register_forward_hook(lambda _, __, out: sizes.append(out.shape))
    assert_same(step(fast, *DATA), step(plain, *DATA), 1e-5)
    assert [size[1] for size in sizes] == [1] * len(sizes) and sizes
    with torch.autocast('cpu', torch.bfloat16):
        found, wanted = step(fast, *DATA), step(plain, *DATA)
    for key in wanted[0]:
        torch.testing.assert_close(found[0][key], wanted[0][key], rtol=0.02, atol=0.02)
    torch._dynamo.reset()


def test_evaluation_computes_the_whole_block():
    plain, fast = swapper_of().eval(), swapper_of('ClassTokenOnly').eval()
    seen = []
    for swapper in (plain, fast):
        block = swapper.host.backbone.layers[-1]
        block.register_forward_hook(lambda _, __, out: seen.append(out))
        with torch.no_grad():
            seen.append(swapper(PICTURES))
    for found, wanted in zip(seen[2:], seen[:2], strict=True):
        assert torch.equal(found, wanted)
    assert seen[0].shape[1] == 5


def test_dropout_and_stochastic_depth_run():
    swapper = swapper_of('ClassTokenOnly', drop_rate=0.5, drop_path_rate=0.5)
    one, other = (step(swapper, *DATA)[0] for _ in range(2))
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_only_backbones_that_give_away_the_class_token_alone():
    for backbone in (
        dict(out_type='avg_featmap'),
        dict(out_type='raw'),
        dict(out_indices=[0, 2]),
        dict(out_indices=[1]),
    ):
        host = swapper_of(**backbone).host
        assert ClassTokenOnly().apply(host) == 0, backbone
    assert ClassTokenOnly().apply(build_swapper(swin_host()).host) == 0
    host = swapper_of().host
    assert ClassTokenOnly().apply(host) == 1 and ClassTokenOnly().apply(host) == 0
    twin = copy.deepcopy(host.backbone.layers)
    assert [isinstance(block, ClassTokenBlock) for block in twin] == [False, False, True]
