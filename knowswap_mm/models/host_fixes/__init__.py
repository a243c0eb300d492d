"""What published checkpoints of a host need before they fit; one file a host."""

from knowswap_mm.models.host_fixes.dino_reference_points import widen_reference_points

__all__ = ['widen_reference_points']
