"""Copies to the device. Without an accelerator the device is `meta`, which holds shapes only."""

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

from knowswap_mm.models.preprocessor import fields_to_device, to_device

META, CPU = torch.device('meta'), torch.device('cpu')


class Copies(TorchDispatchMode):
    """Remembers what was copied to another device."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.overloadpacket is torch.ops.aten._to_copy:
            if kwargs.get('device') not in (None, args[0].device):
                self.shapes.append(tuple(args[0].shape))
        return function(*args, **kwargs)


def samples(labels):
    return [DataSample(metainfo=dict(role='learn')).set_gt_label(label) for label in labels]


def test_tensors_and_lists_are_copied():
    with Copies() as copies:
        assert to_device(torch.ones(2, 3), META).device == META
        assert [part.device for part in to_device([torch.ones(2), torch.ones(3)], META)] == [
            META
        ] * 2
    assert copies.shapes == [(2, 3), (2,), (3,)]


def test_what_is_there_and_what_is_no_tensor_stays():
    tensor = torch.ones(2)
    assert to_device(tensor, CPU, pin=True) is tensor
    assert to_device(None, META) is None and to_device('text', META) == 'text'


@pytest.mark.parametrize('labels', [[3, 1, 2], [[0, 4], [1], [2, 3, 0]]])
def test_each_sample_gets_its_part(labels):
    moved, wanted = samples(labels), samples(labels)
    fields_to_device(moved, CPU)
    for one, other in zip(moved, wanted, strict=True):
        assert torch.equal(one.gt_label, other.gt_label)
        assert one.gt_label.dtype == torch.int64 and one.metainfo == other.metainfo


def test_one_copy_a_field():
    moved = samples([3, 1, 2])
    for index, sample in enumerate(moved):
        sample.set_field(torch.full((2, 2), float(index)), 'mask')
    with Copies() as copies:
        fields_to_device(moved, META)
    assert sorted(copies.shapes) == [(3,), (12,)]
    assert all(sample.gt_label.device == META for sample in moved)
    assert all(sample.mask.shape == (2, 2) for sample in moved)


def test_fields_of_several_dimensions_keep_their_values():
    moved = samples([0, 1])
    for index, sample in enumerate(moved):
        sample.set_field(torch.arange(6.0).view(2, 3) + index, 'mask')
    fields_to_device(moved, CPU)
    assert moved[1].mask.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_samples_on_the_device_are_left_alone():
    moved = samples([0, 1])
    fields_to_device(moved, META)
    labels = [sample.gt_label for sample in moved]
    with Copies() as copies:
        fields_to_device(moved, META)
    assert not copies.shapes
    assert all(sample.gt_label is label for sample, label in zip(moved, labels, strict=True))


def test_structures_and_mixed_fields_are_left_to_the_host():
    boxes = BaseDataElement(gt_instances=InstanceData(bboxes=torch.ones(2, 4)))
    odd = [DataSample(), DataSample()]
    odd[0].set_field(torch.ones(2), 'some')
    mixed = [DataSample(), DataSample()]
    mixed[0].set_field(torch.ones(2), 'some')
    mixed[1].set_field(torch.ones(2, dtype=torch.int64), 'some')
    for given in ([boxes], odd, mixed, [], [object()]):
        with Copies() as copies:
            fields_to_device(given, META)
        assert not copies.shapes
