"""The low-rank part of compiled blocks is that of the others."""

import pytest
import torch

from knowswap_mm.acceleration.fusable_low_rank import FUSABLE_RANK, fusable_low_rank
from knowswap_mm.acceleration.low_rank_linear import low_rank_linear

IN, OUT = 12, 20


def values(compute, rank, bias=True, frozen=(), device='cpu'):
    """Output and gradients."""
    generator = torch.Generator().manual_seed(rank)
    shapes = dict(x=(7, IN), weight=(OUT, IN), bias=(OUT,), a=(rank, IN), b=(OUT, rank))
    tensors = {
        name: torch.randn(*shape, dtype=torch.float64, generator=generator).to(device)
        for name, shape in shapes.items()
    }
    if not bias:
        tensors['bias'] = None
    trained = [tensors[name].requires_grad_() for name in ('x', 'a', 'b') if name not in frozen]
    out = compute(*tensors.values())
    out.sin().sum().backward()
    return [out, *(tensor.grad for tensor in trained)]


def stock(*tensors):
    return low_rank_linear(*tensors)[0]


@pytest.mark.parametrize('rank', [1, 3, FUSABLE_RANK])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('frozen', [(), ('x',), ('a', 'b'), ('x', 'a')])
def test_outputs_and_gradients_are_equal(rank, bias, frozen):
    found, wanted = (values(f, rank, bias, frozen) for f in (fusable_low_rank, stock))
    torch.testing.assert_close(found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize('compute', [fusable_low_rank, stock])
@pytest.mark.parametrize(
    'device',
    [
        'cpu',
        pytest.param(
            'cuda',
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
            ],
        ),
    ],
)
def test_a_compiler_keeps_the_gradients(compute, device):
    """PyTorch 2.11 lost the gradient of a function that added in place."""
    torch._dynamo.reset()
    found = values(torch.compile(compute), 8, device=device)
    torch.testing.assert_close(found, values(stock, 8, device=device))
    torch._dynamo.reset()
