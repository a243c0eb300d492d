"""Keeps what the first steps of a host's pipeline make of an image."""

from knowswap_mm.datasets.cache.cache import SampleCache

__all__ = ['SampleCache']
