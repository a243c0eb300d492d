"""DINO's denoising queries for all pictures at once."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.exact_modules import exact_modules
from knowswap_mm.registry import ACCELERATIONS


@ACCELERATIONS.register_module()
class BatchedDenoisingQueries(Acceleration):
    """Makes the denoising queries of DINO without waiting for the device.

    Queries, masks and the random numbers that follow are the host's, bit by bit.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's query generator.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Generators that were changed.
        """
        name = 'mmdet.models.layers.transformer.dino_layers.CdnQueryGenerator'
        generators = exact_modules(host, name)
        if generators:
            from knowswap_mm.acceleration.matching.batched_cdn_query_generator import (
                BatchedCdnQueryGenerator,
            )

            for generator in generators:
                generator.__class__ = BatchedCdnQueryGenerator
        return len(generators)
