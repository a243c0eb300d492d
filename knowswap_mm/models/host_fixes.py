"""What published checkpoints of a host need before they fit; one function a host.

DINO's have half the inputs in the head of the reference points.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError
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
    state_dict[prefix + KEY] = widen(old)


def widen(old: Tensor) -> Tensor:
    """Weight ``(D, 4 D)`` with the outputs of ``(D, 2 D)``.

    Of the pairs (sine, cosine) of ``D / 2`` new frequencies a coordinate, the ``D / 4`` old ones
    are every second.
    """
    new = old.new_zeros(len(old), 2 * old.shape[1])
    new.view(len(old), 4, -1, 2)[:, :, ::2] = old.view(len(old), 4, -1, 2)
    return new


def narrow(new: Tensor) -> Tensor:
    """Undo :func:`widen`.

    Raises:
        CheckpointError: If the weight uses frequencies that the old layout has not.
    """
    pairs = new.view(len(new), 4, -1, 2)
    if pairs[:, :, 1::2].any():
        raise CheckpointError(
            f'{KEY} was trained with {new.shape[1]} inputs, the official layout has half of them. '
            'Fix: convert back only what was converted from there.'
        )
    return pairs[:, :, ::2].reshape(len(new), -1)
