"""A copy on its way to the host."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class HostCopy:
    """Begins to copy a tensor to the host; what is launched meanwhile does not wait for it.

    Args:
        tensor (Tensor): What to copy.
    """

    def __init__(self, tensor: Tensor) -> None:
        # Without blocking, torch copies into pinned memory; only CUDA tells when it is done.
        self._copy = tensor.detach().to('cpu', non_blocking=tensor.is_cuda)
        self._done: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> np.ndarray:
        """Wait until the copy is there.

        Returns:
            np.ndarray: It, in the shape of the tensor.
        """
        if self._done is not None:
            self._done.synchronize()
        return self._copy.numpy()
