"""Copies to the device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


def to_device(value: Any, device: torch.device, pin: bool = False) -> Any:
    """Copy a tensor, or a list of them, without waiting where that is possible.

    Memory must be pinned for that; a data loader does it with ``pin_memory=True``.

    Args:
        value: A tensor or a list of tensors; anything else comes back as it is.
        device (torch.device): Where to.
        pin (bool): Whether to pin the memory first, for what is small and was made just now.

    Returns:
        The copy; the tensor itself if it is there already.
    """
    if isinstance(value, list):
        return [to_device(part, device, pin) for part in value]
    if not isinstance(value, Tensor) or value.device == device:
        return value
    cuda = device.type == 'cuda'
    if cuda and pin and value.device.type == 'cpu':
        value = value.pin_memory()
    return value.to(device, non_blocking=cuda)


def fields_to_device(samples: Sequence[Any], device: torch.device) -> None:
    """Copy the labels of a batch in one piece; each sample gets its part.

    That is for samples whose fields are plain tensors, such as those of a classifier, and in place,
    as a classifier's data preprocessor writes them. Samples with structures in them (boxes, maps)
    are left to the host.

    Args:
        samples (Sequence[BaseDataElement]): The samples.
        device (torch.device): Where to.
    """
    if not samples or not all(isinstance(sample, BaseDataElement) for sample in samples):
        return
    for name in samples[0].keys():
        values = [sample.get(name) for sample in samples]
        if not all(isinstance(value, Tensor) and value.device.type == 'cpu' for value in values):
            continue
        if len({value.dtype for value in values}) > 1:
            continue
        packed = torch.cat([value if value.ndim == 1 else value.flatten() for value in values])
        parts = to_device(packed, device, pin=True).split([value.numel() for value in values])
        for sample, value, part in zip(samples, values, parts, strict=True):
            sample.set_field(part if value.ndim == 1 else part.view(value.shape), name)
