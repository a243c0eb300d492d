"""Classes that are changed while their modules live."""

from __future__ import annotations

from functools import cache

from torch import nn


@cache
def mixed_class(mixin: type[nn.Module], kind: type[nn.Module]) -> type[nn.Module]:
    """A class that does what a mixin overrides, and else what a class does.

    A module keeps its tensors, its place and its name when its class becomes a mixed one, and
    remains an instance of its own class.

    Args:
        mixin (type): What is put before.
        kind (type): The class of the module.

    Returns:
        type: The same class for the same arguments, so that copies have the class of the original.
    """
    return type(f'{mixin.__name__}{kind.__name__}', (mixin, kind), dict(__module__=kind.__module__))
