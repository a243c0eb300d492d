"""Modules of a host by their class."""

from __future__ import annotations

from torch import nn


def exact_modules(host: nn.Module, *classes: str) -> list[nn.Module]:
    """Find modules of some classes; subclasses, which may do anything, are none.

    Classes are given by name, so that nothing is imported for hosts that have none.

    Args:
        host (nn.Module): The host.
        *classes (str): Full names, e.g. ``mmdet.models.dense_heads.dino_head.DINOHead``.

    Returns:
        list[nn.Module]: Such modules.
    """
    return [
        module
        for module in host.modules()
        if f'{type(module).__module__}.{type(module).__qualname__}' in classes
    ]
