"""The host as it was before the swap."""

from __future__ import annotations

import copy

from torch import nn

from knowswap_mm.lora import unload_adapters


def original_host(swapper: nn.Module) -> nn.Module:
    """Copy the host without its adapters and with the class rows of the start.

    What was merged into one file by an export cannot be had back this way.

    Args:
        swapper (nn.Module): A :class:`KnowledgeSwapper`, at any time of a swap.

    Returns:
        nn.Module: A frozen plain host in evaluation mode; rows of new classes are as they were
        initialised.
    """
    host = copy.deepcopy(swapper.host)
    host.__dict__.pop('extract_feat', None)  # FusedFeatures may have lent it the present features
    host.zero_grad(set_to_none=True)
    unload_adapters(host)
    host.load_state_dict(host.state_dict() | swapper.start_rows.tensors())
    return host.requires_grad_(False).eval()
