"""The lean sum of terms equals mmengine's, bit by bit, with its gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.model import BaseModel

from knowswap_mm.models.losses.host_losses import parse_losses
from tests.helpers.tiny_hosts import batch, build_swapper

NAMES = ['loss', 'loss_cls', 'd0.loss_bbox', 'acc', 'learn/raw', 'lossless']
SHAPES = [(), (1,), (1, 1), (3,), (2, 2)]
VALUE = st.tuples(st.sampled_from(SHAPES), st.sampled_from([torch.float32, torch.bfloat16]))


class Host(BaseModel):
    """The least that mmengine's method needs."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


def build(plan):
    """The planned terms, and the leaves that they come from."""
    generator, leaves = torch.Generator().manual_seed(0), []

    def tensor(shape, dtype):
        leaf = torch.randn(shape, generator=generator).to(dtype).requires_grad_(True)
        leaves.append(leaf)
        return leaf * 3

    terms = {
        name: [tensor(*part) for part in value] if isinstance(value, list) else tensor(*value)
        for name, value in plan.items()
    }
    return terms, leaves


@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(VALUE, st.lists(VALUE, max_size=3))))
def test_equals_the_method_of_mmengine(plan):
    found = []
    for parse in (parse_losses, Host().parse_losses):
        terms, leaves = build(plan)
        total, logs = parse(terms)
        if isinstance(total, torch.Tensor):
            total.backward()
            total = total.item()
        values = [
            (name, value.dtype, value.shape, value.item())
            if isinstance(value, torch.Tensor)
            else (name, value)
            for name, value in logs.items()
        ]
        gradients = [None if leaf.grad is None else leaf.grad.tolist() for leaf in leaves]
        found.append((total, values, gradients))
    assert found[0] == found[1]


def test_scalars_cost_no_kernel():
    names = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    terms = dict(loss_a=torch.tensor(1.0), loss_b=torch.ones(1), acc=[torch.ones(1)])
    with Recorder():
        parse_losses(terms)
    assert [name for name in names if 'view' not in name] == ['add']


@pytest.mark.parametrize('value', [1.0, None, [1.0], 'text'])
def test_what_is_no_tensor_is_refused(value):
    with pytest.raises(TypeError, match='loss_a is not a tensor or list of tensors'):
        parse_losses(dict(loss_a=value))


def test_a_host_with_a_method_of_its_own_is_asked():
    swapper = build_swapper()
    plain = swapper(*batch(['learn', 'retain']), mode='loss')

    class Doubled(type(swapper.host)):
        def parse_losses(self, losses):
            total, logs = super().parse_losses(losses)
            return 2 * total, logs

    swapper.host.__class__ = Doubled
    terms = swapper(*batch(['learn', 'retain']), mode='loss')
    assert terms['learn/raw'].item() == 2 * plain['learn/raw'].item()
