"""The host as it was before the swap."""

from __future__ import annotations

from torch import nn

from knowswap_mm.lora import merge_adapters
from knowswap_mm.models.unload import unload_newest


def original_host(swapper: nn.Module) -> nn.Module:
    """Copy the host as it was before this swap.

    The newest adapter is dropped, those of earlier swaps are merged, the rows are those of the
    start. What was merged into one file by an export cannot be had back this way.

    Args:
        swapper (nn.Module): A :class:`KnowledgeSwapper`, at any time of a swap.

    Returns:
        nn.Module: A frozen plain host in evaluation mode; rows of new classes are as they were
        initialised.
    """
    host = merge_adapters(unload_newest(swapper))
    return host.requires_grad_(False).eval()
