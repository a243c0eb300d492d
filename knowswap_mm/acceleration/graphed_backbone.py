"""Backbones that are launched at once."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.graphed_module import GraphedModule
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.registry import ACCELERATIONS
from knowswap_mm.value_checks import check_whole


@ACCELERATIONS.register_module()
class GraphedBackbone(Acceleration):
    """Makes the backbone a :class:`GraphedModule`: its training passes are CUDA graphs.

    For backbones whose kernels end before the host has launched the next ones: a ViT-B/16 in bf16
    on a fast GPU. It needs pictures of one size. Numbers are those without it, random ones
    included. Name it last; on a CPU it does nothing.

    Args:
        limit (int): Shapes and phases that are recorded at most; each keeps the memory of its
            activations, which the others use in turn.
        after (int): Equal steps before one is recorded.

    Raises:
        ConfigError: If a value is no whole number >= 1.
    """

    def __init__(self, limit: int = 8, after: int = 3) -> None:
        for name, value in (('limit', limit), ('after', after)):
            check_whole(f'model.accelerations.GraphedBackbone.{name}', value, 1, 4)
        self.limit, self.after = limit, after

    def apply(self, host: nn.Module) -> int:
        """Change the class of the backbone; it is recorded when it has run a few times.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: 1, or 0 for a host without a module of the name ``backbone``.
        """
        backbone = getattr(host, 'backbone', None)
        if not isinstance(backbone, nn.Module) or isinstance(backbone, GraphedModule):
            return 0
        backbone.__class__ = mixed_class(GraphedModule, type(backbone))
        GraphedModule.prepare(backbone, self.limit, self.after)
        return 1
