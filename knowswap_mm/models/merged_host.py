"""The host as it is now, without adapters."""

from __future__ import annotations

import copy

from torch import nn

from knowswap_mm.lora import merge_adapters


def merged_host(swapper: nn.Module) -> nn.Module:
    """Copy the host with its adapters merged, in double precision and rounded once.

    Args:
        swapper (nn.Module): A :class:`KnowledgeSwapper`; it is left as it is.

    Returns:
        nn.Module: A frozen plain host in evaluation mode.
    """
    host = copy.deepcopy(swapper.host)
    host.zero_grad(set_to_none=True)
    merge_adapters(host.double())
    return host.float().requires_grad_(False).eval()
