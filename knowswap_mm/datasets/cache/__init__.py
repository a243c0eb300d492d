"""Keeps what the first steps of a host's pipeline make of a picture."""

from knowswap_mm.datasets.cache.cache import SampleCache

__all__ = ['SampleCache']
