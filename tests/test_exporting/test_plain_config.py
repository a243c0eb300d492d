"""Types of ours become those of the host library."""

import pytest

from knowswap_mm.errors import ConfigError
from knowswap_mm.exporting import plain_host_config


def test_our_types_become_those_that_they_extend():
    __import__('knowswap_mm.models.heads')
    found = plain_host_config(
        dict(decode_head=dict(type='knowswap_mm.LabelledPointsMask2FormerHead', num_classes=3))
    )
    assert found == dict(decode_head=dict(type='mmseg.Mask2FormerHead', num_classes=3))


def test_what_wraps_gives_way_to_what_it_wraps():
    __import__('knowswap_mm.models')
    inner = dict(type='SwinTransformer', init_cfg=dict(type='Pretrained', checkpoint='x.pth'))
    found = plain_host_config(
        dict(backbone=dict(type='knowswap_mm.LoRABackbone', backbone=inner, lora=dict(rank=2)))
    )
    assert found == dict(backbone=dict(type='SwinTransformer', init_cfg=None))


@pytest.mark.parametrize('name', ['SwappingLoss', 'NoSuchType'])
def test_others_are_refused(name):
    with pytest.raises(ConfigError, match='has no counterpart'):
        plain_host_config(dict(loss=dict(type=f'knowswap_mm.{name}')))
