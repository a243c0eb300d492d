"""Hosts that hide weights from their state dict, or leave some out when they load it."""

import copy

import mmdet.models  # noqa: F401  registers the hosts
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.exporting.export import build
from knowswap_mm.exporting.host import ExportedHost
from knowswap_mm.lora.tensors import is_adapter_key
from knowswap_mm.models import original_host
from knowswap_mm.models.host_state import prepare_state
from tests.helpers.tiny_hosts import (
    OLD,
    TOTAL,
    build_host,
    new_swapper,
    randomise,
    swin_host,
    vit_host,
)


def swin_v2_host(classes=TOTAL):
    backbone = dict(
        type='mmpretrain.SwinTransformerV2',
        arch=dict(embed_dims=16, depths=[1, 1], num_heads=[2, 2], extra_norm_every_n_blocks=0),
        img_size=16,
        patch_size=4,
        window_size=2,
        out_indices=(1,),
    )
    return swin_host(classes, backbone=backbone)


def lora_model_host():
    """mmpretrain's own LoRA around the backbone: its state dict has the low-rank matrices only."""
    host = vit_host()
    targets = [dict(type='qkv')]
    host['backbone'] = dict(
        type='mmpretrain.LoRAModel', module=host['backbone'], rank=2, targets=targets
    )
    return host


def distilling_host():
    """mmdet's distillation keeps its teacher out of the state dict."""
    backbone = dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=4)
    head = dict(
        type='mmdet.RetinaHead', num_classes=TOTAL, in_channels=8, feat_channels=8, stacked_convs=1
    )
    neck = dict(type='mmdet.FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5)
    student = dict(backbone=backbone, neck=neck, bbox_head=head)
    teacher = dict(type='mmdet.RetinaNet', **copy.deepcopy(student))
    return dict(
        type='mmdet.KnowledgeDistillationSingleStageDetector',
        _scope_='mmdet',
        **student,
        teacher_config=dict(model=teacher),
        teacher_ckpt='https://nowhere.invalid/teacher.pth',
    )


class Hiding(nn.Module):
    """Keeps a module where torch does not look for it."""

    def __init__(self, hidden):
        super().__init__()
        self.layer, self.found = nn.Linear(2, 2), hidden


HIDDEN = {
    'list': lambda: [nn.Linear(2, 2)],
    'dict': lambda: dict(a=(nn.Linear(2, 2),)),
    'parameters': lambda: [nn.Parameter(torch.ones(2))],
}


@pytest.mark.parametrize(
    ('host', 'name'),
    [(lora_model_host, 'backbone.module.'), (distilling_host, 'teacher_model')],
)
def test_a_host_whose_state_dict_lacks_parameters_is_refused(host, name):
    with pytest.raises(ConfigError, match=f'model.host = .* lacks .*{name}'):
        new_swapper(host())


@pytest.mark.parametrize('hidden', HIDDEN)
def test_parts_that_torch_does_not_know(hidden):
    with pytest.raises(ConfigError, match='lacks 1 .*found'):
        prepare_state(Hiding(HIDDEN[hidden]()))


def test_what_is_known_elsewhere_is_not_hidden():
    host = Hiding(None)
    host.found = [host.layer, host.layer.weight]
    assert prepare_state(host) == ()


class Dropping(nn.Linear):
    """Throws a part of every checkpoint away."""

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        state_dict.pop(f'{prefix}bias')
        super()._load_from_state_dict(state_dict, prefix, *rest)


def test_a_host_that_does_not_load_its_parameters_is_refused():
    with pytest.raises(ConfigError, match='does not load 1 of its parameters .bias.'):
        prepare_state(Dropping(2, 2))


def test_a_second_name_that_comes_later_stays_out_of_the_state_dict():
    """As DDQ's decoder gets the head's branches when it first trains."""
    host = nn.ModuleDict(dict(head=nn.Linear(2, 2)))
    before = set(host.state_dict())
    prepare_state(host)
    host['again'] = host['head']
    outer = nn.ModuleDict(dict(host=host))
    assert set(host.state_dict()) == before
    assert set(outer.state_dict()) == {f'host.{name}' for name in before}
    host['more'] = nn.Linear(2, 2)
    assert set(host.state_dict()) == before | {'more.weight', 'more.bias'}


@pytest.fixture(scope='module')
def swin_v2():
    plain = build_host(swin_v2_host(OLD), seed=3)
    swapper = new_swapper(swin_v2_host(), lora=dict(targets=r'.*ffn\.layers\.(0\.0|1)'))
    return plain, swapper


def test_swin_v2_loads_strictly(swin_v2):
    """It deletes two buffers of each block from every checkpoint as it loads it."""
    plain, swapper = swin_v2
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    # Files have them, published ones may not.
    for given in (state, {k: v for k, v in state.items() if 'relative_coords_table' not in k}):
        randomise(swapper.host, seed=9)
        result = swapper.load_state_dict(given, strict=True)
        assert not result.missing_keys and not result.unexpected_keys
        for key, value in swapper.host.state_dict().items():
            if not is_adapter_key(key):
                rows = value[:OLD] if key.startswith('head.fc') else value
                assert torch.equal(rows, state[key.replace('.base_layer.', '.')]), key
    weight = next(key for key in state if key.endswith('qkv.weight'))
    for broken in (
        {key: value for key, value in state.items() if key != weight},
        state | {'backbone.more': state[weight]},
    ):
        with pytest.raises(RuntimeError, match='Missing key|Unexpected key'):
            swapper.load_state_dict(broken)


def test_swin_v2_can_be_had_back_and_exported(swin_v2):
    plain, swapper = swin_v2
    swapper.load_state_dict({key: value.clone() for key, value in plain.state_dict().items()})
    before = original_host(swapper).state_dict()
    assert torch.equal(before['head.fc.weight'][:OLD], plain.state_dict()['head.fc.weight'])
    names = [str(label) for label in range(TOTAL)]
    exported = ExportedHost(copy.deepcopy(swapper), swin_v2_host(), names)
    found = build(exported.config, exported.state_dict()).eval()
    image = torch.randn(2, 3, 16, 16)
    scores = found(image)[0] if isinstance(found(image), tuple) else found(image)
    expected = swapper.eval().host(image)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(scores, expected)
    assert MODELS.get('mmpretrain.SwinTransformerV2') is not None
