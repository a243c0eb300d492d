import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.models import ClassRows
from knowswap_mm.models.class_rows import ClassTensor
from knowswap_mm.models.head import NewRows
from tests.helpers.tiny_hosts import TOTAL, vit_host

ROWS_OLD, ROWS_TOTAL, ROWS = 3, 5, 6  # the last row is no class, as Mask2Former's no-object row


@pytest.fixture
def split():
    """A linear with frozen old rows, two new rows and a frozen last row; and its plain twin."""
    torch.manual_seed(0)
    plain = nn.Linear(4, ROWS).requires_grad_(False)
    linear = copy.deepcopy(plain)
    for name in ('weight', 'bias'):
        NewRows.apply_to(linear, name, ROWS_OLD, RowLayout(after=ROWS - ROWS_TOTAL))
    return linear, plain


def test_the_rows_stay_in_their_order(split):
    linear, plain = split
    x = torch.randn(2, 4)
    assert torch.equal(linear(x), plain(x))
    assert list(linear.state_dict()) == list(plain.state_dict())
    for key, tensor in plain.state_dict().items():
        assert torch.equal(linear.state_dict()[key], tensor)


def test_only_the_new_rows_train(split):
    linear, plain = split
    optimizer = torch.optim.AdamW(linear.parameters(), lr=0.1, weight_decay=0.5)
    linear(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    for key, tensor in plain.state_dict().items():
        moved = (linear.state_dict()[key] != tensor).view(ROWS, -1).any(1)
        assert moved.tolist() == [False, False, False, True, True, False]


def test_loading_reaches_every_row(split):
    linear, plain = split
    other = {key: torch.randn_like(tensor) for key, tensor in plain.state_dict().items()}
    kept = {key: tensor.clone() for key, tensor in other.items()}
    linear.load_state_dict(other, strict=True)
    for key, tensor in kept.items():
        assert torch.equal(linear.state_dict()[key], tensor)
        assert torch.equal(getattr(linear, key), tensor)


def test_growing_keeps_the_last_row_last():
    rows = ClassRows(MODELS.build(vit_host()), vit_host(), old_classes=TOTAL - 2)
    loaded = torch.arange(TOTAL - 1.0)  # the old classes and one row behind them
    current = -torch.arange(1.0, TOTAL + 2)
    grown = rows.grow(ClassTensor('x', RowLayout(after=1)), loaded, current)
    old = TOTAL - 2
    wanted = torch.cat([loaded[:old], current[old:TOTAL], loaded[old:]])
    assert torch.equal(grown, wanted) and len(grown) == TOTAL + 1
