import torch

from knowswap_mm.acceleration import HalfResiduals
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


def pair():
    host = vit_host(backbone=vit_backbone(3))
    return [
        randomise_adapters(build_swapper(host, accelerations=accelerations)).train()
        for accelerations in ([], ['HalfResiduals'])
    ]


def test_the_sum_of_the_blocks_is_rounded_under_autocast_in_training_only():
    plain, fast = pair()
    assert fast.accelerated == {'HalfResiduals': 1}
    types = []
    fast.host.backbone.layers[-1].register_forward_hook(lambda *a: types.append(a[2].dtype))
    assert_same(step(fast, *DATA), step(plain, *DATA), 0)
    with torch.autocast('cpu', torch.bfloat16):
        found, wanted = step(fast, *DATA), step(plain, *DATA)
        with torch.no_grad():
            for swapper in (plain, fast):
                swapper.eval()
            assert torch.equal(fast(PICTURES), plain(PICTURES))
    assert set(types[:1] + types[-1:]) == {torch.float32} and torch.bfloat16 in types
    for key, value in wanted[0].items():
        torch.testing.assert_close(found[0][key], value, rtol=0.02, atol=0.02)
    for key, value in wanted[1].items():
        torch.testing.assert_close(found[1][key], value, rtol=0.1, atol=0.1 * value.abs().max())


def test_what_it_changes():
    assert HalfResiduals().apply(build_swapper(swin_host()).host) == 0
    assert HalfResiduals().apply(pair()[1].host) == 0, 'once is enough'
