"""Who gets which object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.utils import reduce_mean
from mmengine.dist import is_distributed
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class CPUCopy:
    """Begins to copy a tensor to the CPU; what is launched meanwhile does not wait for it."""

    def __init__(self, tensor: Tensor) -> None:
        # Without blocking, torch copies into pinned memory; only CUDA tells when it is done.
        self._copy = tensor.detach().to('cpu', non_blocking=tensor.is_cuda)
        self._done: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> np.ndarray:
        """Wait until the copy is there; it has the shape of the tensor."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy.numpy()


def send(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Copy arrays of one type to a device, all at once and without waiting for it."""
    packed = torch.from_numpy(np.concatenate([np.ravel(array) for array in arrays]))
    if device.type == 'cuda' and len(packed):
        # From ordinary memory the copy would wait until the device has done all its work.
        packed = packed.pin_memory()
    sent = packed.to(device, non_blocking=True)
    parts = sent.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


#: The hosts add it to every normaliser.
EPS = torch.finfo(torch.float32).eps


def share_counts(
    counts: Sequence[float], shared: Sequence[bool], like: Tensor
) -> list[float | Tensor]:
    """Average counts over all processes, in one message, and make them at least one.

    A process alone reads nothing back from its device: the counts are known to the CPU.

    Args:
        counts (Sequence[float]): Counts of this process.
        shared (Sequence[bool]): Which of them are averaged; the others stay numbers.
        like (Tensor): Any tensor on the device of the messages.
    """
    if not is_distributed() or not any(shared):
        return [max(count, 1.0) for count in counts]
    # Filled there, because a copy of numbers would wait for the device.
    filled = [like.new_full((1,), count, dtype=torch.float32) for count in counts]
    means = reduce_mean(torch.cat(filled)).clamp(min=1).unbind()
    return [
        mean if share else max(count, 1.0)
        for mean, share, count in zip(means, shared, counts, strict=True)
    ]


def assign(costs: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Match queries to objects one to one, at the least cost of each image and layer.

    The solver gets each matrix as hosts give it (or transposed, which it would do itself), so that
    even ties are broken alike.

    Args:
        costs (np.ndarray): Cost of each object for each query of its image,
            ``(sets, objects, queries)``; the objects of all images one after another.
        counts (Sequence[int]): Objects of each image.

    Returns:
        np.ndarray: int64, ``(2, sets, pairs)``: the queries of the pairs, numbered through all
        images, in ascending order; and their objects, likewise.

    Raises:
        ValueError: If a cost is NaN.
    """
    sets, _, queries = costs.shape
    pairs = np.empty((2, sets, sum(min(count, queries) for count in counts)), dtype=np.int64)
    for number, matrix in enumerate(costs):
        first = filled = 0
        for image, count in enumerate(counts):
            if not count or not queries:
                continue
            part = matrix[first : first + count]
            if count == queries:
                chosen, objects = linear_sum_assignment(part.T)
            else:
                objects, chosen = linear_sum_assignment(part)
            order = chosen.argsort()
            here = slice(filled, filled + len(order))
            pairs[0, number, here] = image * queries + chosen[order]
            pairs[1, number, here] = first + objects[order]
            first, filled = first + count, here.stop
    return pairs


class TellsPairs:
    """Mixin of heads that match by themselves: whoever reads samples is told the result."""

    def tell_pairs(self, queries: Tensor, chosen: Tensor, labels: Tensor, count: int) -> None:
        """Do nothing; ``models/samples/queries.py`` replaces it for the time of a loss.

        Args:
            queries (Tensor): Matched queries, numbered through all images, ``(sets, pairs)``; the
                first sets are those of the decoder layers.
            chosen (Tensor): Their objects, ``(sets, pairs)``.
            labels (Tensor): Classes of all objects, ``(objects,)``.
            count (int): Queries of an image, without those of denoising.
        """
