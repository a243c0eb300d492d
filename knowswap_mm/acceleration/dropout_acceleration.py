"""Another dropout for a host."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.exact_modules import exact_modules
from knowswap_mm.acceleration.mixed_class import mixed_class

_DROPOUTS = ('torch.nn.modules.dropout.Dropout', 'mmcv.cnn.bricks.drop.Dropout')


class DropoutAcceleration(Acceleration):
    """Base of those that mix a class into the host's dropouts."""

    mixin: ClassVar[type[nn.Module]]

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's dropouts.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Dropouts that were changed; those in place stay as they are.
        """
        found = [module for module in exact_modules(host, *_DROPOUTS) if not module.inplace]
        for module in found:
            module.__class__ = mixed_class(self.mixin, type(module))
        return len(found)
