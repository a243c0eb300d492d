"""What was there before a swap, or before all of them, bit by bit.

Each function takes a :class:`KnowledgeSwapper` at any time of a swap and leaves it as it is.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from knowswap_mm.lora import drop_adapter, merge_adapters
from knowswap_mm.lora.tensors import is_adapter_key, plain_key


def original_host(swapper: nn.Module) -> nn.Module:
    """Copy the host as it was before this swap.

    The newest adapter is dropped, those of earlier swaps are merged, the rows are those of the
    start. What an export merged into one file cannot be restored this way.

    Returns:
        nn.Module: A frozen plain host in evaluation mode; rows of new classes are as they were
        initialised.
    """
    host = merge_adapters(unload_newest(swapper))
    return host.requires_grad_(False).eval()


def merged_host(swapper: nn.Module) -> nn.Module:
    """Copy the host, merged in double precision and rounded once, frozen and in evaluation mode."""
    host = copy.deepcopy(swapper.host)
    host.zero_grad(set_to_none=True)
    merge_adapters(host.double())
    return host.float().requires_grad_(False).eval()


def unload_newest(swapper: nn.Module) -> nn.Module:
    """Copy the host without the adapter that trains, with the class rows of the start, frozen.

    Adapters of earlier swaps stay in place and active: this is, bit by bit, the state with which
    the swap began. Rows of new classes are as they were initialised.
    """
    host = copy.deepcopy(swapper.host)
    host.__dict__.pop('extract_feat', None)  # FusedFeatures may have lent it the present features
    host.zero_grad(set_to_none=True)
    drop_adapter(host, swapper.adapter_name)
    host.load_state_dict(host.state_dict() | swapper.start_rows.tensors())
    return host.requires_grad_(False)


def unload_all(swapper: nn.Module) -> dict[str, Tensor]:
    """The weights of the base checkpoint, class rows included.

    What an export merged into one file cannot be restored this way. This is the state dict of the
    plain host, with as many classes as it had before the first swap.
    """
    start = swapper.start_rows.tensors()
    rows = swapper.stack.base_rows() or {
        tensor.name: tensor.layout.old_part(start[tensor.name], swapper.class_rows.old)
        for tensor in swapper.class_rows.tensors
        if tensor.name in start
    }
    state = swapper.host.state_dict()
    base = {plain_key(k): v.detach().clone() for k, v in state.items() if not is_adapter_key(k)}
    return base | {name: tensor.clone() for name, tensor in rows.items()}
