"""The host's data preprocessor, applied to every role of a batch by itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import MODELS


def to_device(value: Any, device: torch.device, pin: bool = False) -> Any:
    """Copy a tensor, or a list of them, without waiting where that is possible.

    Memory must be pinned for that; a data loader does it with ``pin_memory=True``.

    Args:
        value: A tensor of any shape, or a list of tensors; anything else comes back as it is.
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


@MODELS.register_module()
class RoleDataPreprocessor(BaseDataPreprocessor):
    """Splits a training batch by role and hands each part to the host's preprocessor.

    Padding and batch augmentations (Mixup, CutMix) therefore never mix roles. Batches without roles
    (validation, inference) go to the host's preprocessor as they are. The images of a training
    batch, and the labels of a classifier, go to the device in one copy for all roles; the CPU
    does not wait for it if the data loader pins its memory.

    Args:
        host (nn.Module): The host's data preprocessor.
        together (bool): Whether all roles of a batch go through it at once and come out padded to
            one size, as the images of any batch of the host do.

    Raises:
        ConfigError: If roles that go together would be mixed by batch augmentations.
    """

    def __init__(self, host: nn.Module, together: bool = False) -> None:
        super().__init__()
        if together and getattr(host, 'batch_augments', None):
            fix = "use 'same_shape', or take batch_augments out of the data preprocessor"
            problem = 'the batch augmentations of the host would mix the roles'
            raise ConfigError('model.fuse', 'always', problem, fix)
        self.host, self.together = host, together

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch.

        Args:
            data (dict): ``inputs`` (N images, ``(C, H, W)`` each, in a list or one tensor) and
                ``data_samples``.
            training (bool): Whether the batch is for training.

        Returns:
            dict: ``inputs`` ``(N, C, H, W)`` and ``data_samples``; for training both are dicts by
            role, in the order of the roles in the batch.
        """
        spans = role_spans(data.get('data_samples')) if training else {}
        if not spans:
            return self.host(data, training)
        if self.device.type != 'cpu':
            fields_to_device(data['data_samples'], self.device)
            data = dict(data, inputs=to_device(data['inputs'], self.device))
        if self.together:
            done = self.host(data, training)
            parts = {k: {r: done[k][s] for r, s in spans.items()} for k in done}
            return dict(inputs=parts['inputs'], data_samples=parts['data_samples'])
        inputs, data_samples = {}, {}
        for role, span in spans.items():
            part = dict(inputs=data['inputs'][span], data_samples=data['data_samples'][span])
            done = self.host(part, training)
            inputs[role], data_samples[role] = done['inputs'], done['data_samples']
        return dict(inputs=inputs, data_samples=data_samples)

    @property
    def device(self) -> torch.device:
        """Device of the host's preprocessor."""
        return self.host.device


def role_spans(data_samples: list[Any] | None) -> dict[str, slice]:
    """Where each role lies in a batch that is grouped by role; empty if samples carry no role.

    Raises:
        ValueError: If the samples of a role do not lie together.
    """
    # Not sample.metainfo, which is a new dict each time: this runs in every iteration.
    roles = [sample.get('role') for sample in data_samples or ()]
    if not roles or roles[0] is None:
        return {}
    spans: dict[str, slice] = {}
    start = 0
    for role, same in groupby(roles):
        if role in spans:
            raise ValueError(f'the role {role!r} is scattered over the batch: {roles}')
        stop = start + len(list(same))
        spans[role] = slice(start, stop)
        start = stop
    return spans
