"""Rules and tables of converters: strict, and there and back is the identity."""

import pytest
import torch

from knowswap_mm.converters import KeyRule, KeyTable
from knowswap_mm.converters.key_table import COCO_IDS, parse_rows, select_rows
from knowswap_mm.converters.lora import merge_lora, split_lora
from knowswap_mm.converters.tables.swin import from_unfold, to_unfold
from knowswap_mm.errors import CheckpointError

TABLE = KeyTable(
    [
        KeyRule(['a.{i}.q.{p}', 'a.{i}.k.{p}'], 'b.{i}.qk.{p}'),
        KeyRule('head.{p}', 'out.{p}'),
        KeyRule('copy.head.{p}', 'out.{p}'),
    ],
    dropped={r'counter\..*': 'nobody needs it'},
    derived=['.index'],
)


def source():
    torch.manual_seed(0)
    state = {f'a.{i}.{n}.{p}': torch.randn(2, 3) for i in (0, 10) for n in 'qk' for p in 'wv'}
    head = torch.randn(4)
    return state | {'head.bias': head, 'copy.head.bias': head.clone()}


def test_there_and_back():
    state = source()
    found = TABLE.convert({f'module.{k}': v for k, v in state.items()} | {'counter.x': head()})
    assert set(found.state) == {f'b.{i}.qk.{p}' for i in (0, 10) for p in 'wv'} | {'out.bias'}
    assert torch.equal(found.state['b.10.qk.v'], torch.cat([state['a.10.q.v'], state['a.10.k.v']]))
    assert found.dropped == {'counter.x': 'nobody needs it'}
    back = TABLE.revert(found.state | {'some.index': head()})
    assert back.keys() == state.keys() and all(torch.equal(back[k], state[k]) for k in state)


def head():
    return torch.zeros(1)


def test_strict():
    with pytest.raises(CheckpointError, match='1 keys are none of this kind'):
        TABLE.convert(source() | {'new': head()})
    state = source()
    del state['a.0.k.w']
    with pytest.raises(CheckpointError, match=r'b\.0\.qk\.w is not whole'):
        TABLE.convert(state)
    with pytest.raises(CheckpointError, match=r'two different tensors for out\.bias'):
        TABLE.convert(source() | {'copy.head.bias': torch.ones(4)})
    with pytest.raises(CheckpointError, match='strange has no place'):
        TABLE.revert({'strange': head()})


@pytest.mark.parametrize('shape', [(8, 24), (24,)])
def test_patch_merging_reads_the_same_pixels(shape):
    """The original concatenates strided slices; the hosts unfold."""
    torch.manual_seed(0)
    weight = torch.randn(shape)
    assert torch.equal(from_unfold(to_unfold(weight)), weight)
    picture = torch.randn(1, 6, 4, 8)  # channels last: 4 x 8 pixels of 6 channels, below
    pixels = picture.permute(0, 2, 3, 1)
    slices = [pixels[:, y::2, x::2] for x in (0, 1) for y in (0, 1)]
    original = torch.cat(slices, dim=-1).flatten(1, 2)
    unfolded = torch.nn.functional.unfold(picture, 2, stride=2).transpose(1, 2)
    rows = weight.reshape(-1, 24)
    torch.testing.assert_close(unfolded @ to_unfold(weight).reshape(-1, 24).T, original @ rows.T)


def test_rows():
    assert len(COCO_IDS) == 80 and parse_rows('coco,91-95')[-6:] == [90, 91, 92, 93, 94, 95]
    assert parse_rows('0-2,5') == [0, 1, 2, 5]
    for text in ('', 'a', '1-', '1,1', 'coco,1'):
        with pytest.raises(ValueError, match='Fix:'):
            parse_rows(text)
    state = {'x.cls_embed.weight': torch.arange(6.0)[:, None], 'x.mask_embed.0.weight': head()}
    found = select_rows(state, [0, 2, 5])
    assert found['x.cls_embed.weight'].flatten().tolist() == [0, 2, 5]
    assert found['x.mask_embed.0.weight'] is state['x.mask_embed.0.weight']
    with pytest.raises(CheckpointError, match='has 6 rows, none with number 6'):
        select_rows(state, [6])
    with pytest.raises(CheckpointError, match='No tensor is indexed by class'):
        select_rows({'weight': head()}, [0])


def test_lora_beside_the_weights():
    torch.manual_seed(0)
    weight, a, b = torch.randn(5, 4), torch.randn(2, 4), torch.randn(5, 2)
    state = {'l.weight': weight, 'l.bias': head(), 'l.lora_A': a, 'l.lora_B': b}
    base, matrices = split_lora(state)
    assert set(base) == {'l.weight', 'l.bias'} and set(matrices) == {'l'}
    merged = merge_lora(base, matrices, alpha=1.0)
    torch.testing.assert_close(merged['l.weight'], weight + b @ a / 2)
    del state['l.lora_B']
    with pytest.raises(CheckpointError, match='has not all of weight, lora_A and lora_B'):
        split_lora(state)
    with pytest.raises(CheckpointError, match='do not fit'):
        split_lora(state | {'l.lora_B': torch.zeros(4, 2)})
