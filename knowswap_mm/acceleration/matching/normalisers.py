"""What sums of losses are divided by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.utils import reduce_mean
from mmengine.dist import is_distributed
from torch import Tensor

#: The hosts add it to every normaliser.
EPS = torch.finfo(torch.float32).eps


def share_counts(
    counts: Sequence[float], shared: Sequence[bool], like: Tensor
) -> list[float | Tensor]:
    """Average counts over all processes, in one message, and make them at least one.

    A process alone reads nothing back from its device: the counts are known to the host.

    Args:
        counts (Sequence[float]): Counts of this process.
        shared (Sequence[bool]): Which of them are averaged.
        like (Tensor): A tensor on the device of the messages.

    Returns:
        list[float | Tensor]: Numbers, or what came from the device.
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
