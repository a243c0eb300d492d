"""Features of images after blocks: what passes there, for each role, and only while asked."""

import pytest
import torch

from knowswap_mm.compat import has_hooks
from knowswap_mm.models import WeightedSumLoss
from knowswap_mm.models.samples.depth import Depth, pooled
from tests.helpers.sample_hosts import batch_for, build
from tests.helpers.tiny_hosts import resnet_host, swin_host, vit_host


class Deep(WeightedSumLoss):
    """Asks for the features of all roles after two blocks."""

    def __init__(self, roles=None):
        super().__init__()
        self.kept, self.roles = {}, roles

    def wants(self, phase):
        return self.roles or phase.roles

    def blocks_in(self, phase):
        return 2

    def measure(self, swapper, role, inputs, samples, phase, found=None):
        self.kept[role] = found
        return {}


def step(swapper, objective):
    swapper.swapping_loss = objective
    inputs, samples = batch_for('vit', swapper)
    terms = swapper(dict(inputs), samples, mode='loss')
    swapper.parse_losses(terms)[0].backward()
    assert not any(map(has_hooks, swapper.modules()))
    return inputs


def by_hand(swapper, images, blocks):
    seen = []
    handles = [
        swapper.host.get_submodule(name).register_forward_hook(lambda *a: seen.append(a[2]))
        for name in blocks
    ]
    swapper.host.extract_feat(images)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize('fuse', ['always', 'never'])
@pytest.mark.parametrize('accelerations', [(), ('ClassTokenOnly', 'PackedAttention', 'LeanLoRA')])
def test_class_tokens_of_a_vit(fuse, accelerations):
    swapper = build('vit', vit_host(layers=3), fuse=fuse, accelerations=accelerations)
    asking = Deep()
    inputs = step(swapper, asking)
    for role, images in inputs.items():
        blocks = ['backbone.layers.1', 'backbone.layers.2']
        expected = [each[:, 0] for each in by_hand(swapper, images, blocks)]
        found = asking.kept[role].depth
        assert len(found) == 2 and all(each.requires_grad for each in found)
        torch.testing.assert_close(list(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('fuse', ['always', 'never'])
def test_a_role_that_is_not_wanted_takes_nothing_from_the_others(fuse):
    swapper, both, one = build('vit', fuse=fuse), Deep(), Deep(('retain',))
    step(swapper, both)
    step(swapper, one)
    assert one.kept['forget'] is None
    for left, right in zip(one.kept['retain'].depth, both.kept['retain'].depth, strict=True):
        assert torch.equal(left, right)


def test_maps_of_a_swin_are_pooled():
    swapper = build('vit', swin_host())
    asking = Deep()
    inputs = step(swapper, asking)
    blocks = ['backbone.stages.0.blocks.1', 'backbone.stages.1.blocks.0']
    expected = [each.mean(1) for each in by_hand(swapper, inputs['retain'], blocks)]
    found = asking.kept['retain'].depth
    torch.testing.assert_close(list(found), expected, rtol=1e-4, atol=1e-5)
    assert [each.shape[1] for each in found] == [16, 32]


def test_measuring_reads_the_same():
    swapper = build('vit').eval()
    inputs, samples = batch_for('vit', swapper)
    found = swapper.sample_losses(inputs['retain'], samples['retain'], blocks=9)
    assert len(found.depth) == 2  # the host has no more
    assert swapper.sample_losses(inputs['retain'], samples['retain']).depth == ()
    assert not any(map(has_hooks, swapper.modules()))


@pytest.mark.parametrize('name', ['dino', 'upernet'])
def test_other_samples_have_none(name):
    swapper = build(name)
    inputs, samples = batch_for(name, swapper)
    assert swapper.sample_losses(inputs['retain'], samples['retain'], blocks=2).depth == ()


def test_a_backbone_without_adapters_has_no_blocks():
    targets = dict(lora=dict(targets=r'head\.fc_none|backbone\.layers\.\d\.ffn.*0\.0'))
    assert Depth.of(build('vit', **targets).host, 0) is None
    from mmengine.registry import MODELS

    assert Depth.of(MODELS.build(resnet_host()), 3) is None


def test_pooling():
    tokens, maps = torch.randn(2, 5, 3), torch.randn(2, 3, 4, 4)
    assert torch.equal(pooled(tokens, True), tokens[:, 0])
    assert torch.equal(pooled(tokens, False), tokens.mean(1))
    torch.testing.assert_close(pooled(maps, False), maps.flatten(2).mean(2))
