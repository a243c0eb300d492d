"""A layer with adapters whose merges are noticed."""

from __future__ import annotations

from typing import Any

from peft.tuners.lora import LoraLayer
from torch import nn
from torch.autograd.graph import increment_version


class VersionedMerge(nn.Module, LoraLayer):
    """Mixin of peft's layers: a merge counts as a change of the base weights.

    peft writes merged weights through ``tensor.data``, which no version counter sees; what was made
    of the weights before (:class:`FrozenCache`) would be taken for what they are now.
    """

    def merge(self, *args: Any, **kwargs: Any) -> None:
        """Merge adapters into the base weights."""
        super().merge(*args, **kwargs)
        self._count()

    def unmerge(self) -> None:
        """Take merged adapters out of the base weights."""
        super().unmerge()
        self._count()

    def _count(self) -> None:
        increment_version(list(self.get_base_layer().parameters()))
