"""What is raised for samples that cannot be kept."""

from __future__ import annotations


class NotStorable(TypeError):
    """A value that cannot be kept: of an unknown class, or not on the CPU."""
