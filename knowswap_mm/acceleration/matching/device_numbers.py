"""Numbers of the host on their way to the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def send(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Copy small arrays to the device, all at once and without waiting for it.

    Args:
        arrays (Sequence[np.ndarray]): Arrays of one type, of any shape.
        device (torch.device): Where to.

    Returns:
        list[Tensor]: The arrays there, in their shapes.
    """
    packed = torch.from_numpy(np.concatenate([np.ravel(array) for array in arrays]))
    if device.type == 'cuda' and len(packed):
        # From ordinary memory the copy would wait until the device has done all its work.
        packed = packed.pin_memory()
    sent = packed.to(device, non_blocking=True)
    parts = sent.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
