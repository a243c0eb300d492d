import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, boolean_dtypes, integer_dtypes
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks

from knowswap_mm.datasets.cache.codec import NotStorable, decode, encode

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    plain
    | arrays(boolean_dtypes() | integer_dtypes(), array_shapes(min_dims=0, min_side=0, max_side=4)),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def again(value):
    return decode(np.frombuffer(encode(value), np.uint8).copy())


def same(left, right):
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@given(values)
def test_values_come_back_as_they_were(value):
    assert same(again(value), value)


def test_tensors_boxes_and_masks():
    polygons = [[np.arange(6.0), np.arange(8.0)], [np.ones(6)]]
    value = again(
        dict(
            tensor=torch.arange(6.0).reshape(2, 3),
            boxes=HorizontalBoxes(torch.tensor([[1.0, 2, 3, 4]])),
            none=HorizontalBoxes([]),
            bitmaps=BitmapMasks(np.eye(4, dtype=np.uint8)[None], 4, 4),
            polygons=PolygonMasks(polygons, 5, 6),
            number=np.float32(0.1),
        )
    )
    assert torch.equal(value['tensor'], torch.arange(6.0).reshape(2, 3))
    assert isinstance(value['boxes'], HorizontalBoxes)
    assert value['boxes'].tensor.tolist() == [[1, 2, 3, 4]]
    assert value['none'].tensor.shape == (0, 4)
    assert value['bitmaps'].masks.tolist() == [np.eye(4).tolist()]
    assert (value['polygons'].height, value['polygons'].width) == (5, 6)
    assert [[p.tolist() for p in each] for each in value['polygons'].masks] == [
        [p.tolist() for p in each] for each in polygons
    ]
    assert type(value['number']) is np.float32
    assert value['number'] == np.float32(0.1)


def test_memory_order_of_columns_is_kept():
    value = np.asfortranarray(np.arange(12).reshape(3, 4))
    assert again(value).flags.f_contiguous
    assert again(value.T).flags.c_contiguous
    assert np.array_equal(again(value), value)


def test_cuts_and_turned_pictures():
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for view in (picture[1:3, 1:4], picture[:, ::-1], picture[..., ::-1], picture[:0]):
        assert np.array_equal(again(view), view)


def test_one_array_under_two_names_stays_one():
    picture = np.zeros((2, 2))
    value = again(dict(img=picture, other=[picture], equal=picture.copy()))
    assert value['img'] is value['other'][0]
    assert value['img'] is not value['equal']


def test_arrays_can_be_written_and_lie_apart():
    value = again([np.zeros(5, np.uint8), np.ones(5, np.float32), torch.zeros(3)])
    value[0][:] = 9
    value[2][:] = 7
    assert value[1].tolist() == [1] * 5


@pytest.mark.parametrize(
    'value',
    [
        object(),
        print,
        torch.nn.Linear,
        np.array(['text']),
        np.array([None]),
        torch.empty(2, device='meta'),
        lambda: 0,
        {'deep': [(1, Exception('x'))]},
    ],
)
def test_what_is_not_stored(value):
    with pytest.raises(NotStorable):
        encode(value)


def test_nothing_in_the_bytes_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / 'made'), 'w'))

    plain = pickle.dumps(Evil())
    data = len(plain).to_bytes(8, 'little') + plain
    data = np.frombuffer(data + bytes(-len(data) % 64), np.uint8)
    with pytest.raises(pickle.UnpicklingError, match='no part of a sample'):
        decode(data)
    assert not (tmp_path / 'made').exists()
