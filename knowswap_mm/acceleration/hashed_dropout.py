"""Dropout with cheap random numbers in compiled blocks."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.exact_modules import exact_dropouts
from knowswap_mm.acceleration.hashed_dropout_module import HashedDropoutModule
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.registry import ACCELERATIONS


@ACCELERATIONS.register_module()
class HashedDropout(Acceleration):
    """Makes dropouts :class:`HashedDropoutModule`, which differ inside :class:`CompiledBlocks`.

    Elements are dropped with the same probability, but others than torch would drop.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's dropouts.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Dropouts that were changed; those in place stay as they are.
        """
        found = exact_dropouts(host)
        for module in found:
            module.__class__ = mixed_class(HashedDropoutModule, type(module))
        return len(found)
