"""Published DINO weights have half the inputs in the head of the reference points."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from torch import Tensor, nn

from knowswap_mm.registry import HOST_FIXES

KEY = 'decoder.ref_point_head.layers.0.weight'


@HOST_FIXES.register_module('DINO')
def widen_reference_points(
    host: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str
) -> None:
    """Widen ``decoder.ref_point_head`` from ``2 D`` to ``4 D`` inputs, in place and exactly.

    mmdet up to 3.3 and the official DINO encode each of the four box coordinates by ``D / 2``
    numbers, the maintained fork by ``D``. The old frequencies are every second one of the new: the
    columns move there, and the others are zero.

    Args:
        host (nn.Module): The DINO.
        state_dict (MutableMapping[str, Tensor]): Weights about to be loaded, changed in place.
        prefix (str): Prefix of the host's keys in it.
    """
    old = state_dict.get(prefix + KEY)
    current = host.get_parameter(KEY)
    if old is None or old.dim() != 2 or 2 * old.shape[1] != current.shape[1]:
        return
    width = current.shape[0]
    new = torch.zeros(current.shape, dtype=old.dtype, device=old.device)
    # Per coordinate: pairs (sine, cosine) of D / 4 old and D / 2 new frequencies.
    pairs = new.view(width, 4, -1, 2)
    pairs[:, :, ::2] = old.view(width, 4, -1, 2)
    state_dict[prefix + KEY] = new
