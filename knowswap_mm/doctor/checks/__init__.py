"""Checks of an installation."""

from knowswap_mm.doctor.checks import libraries, machine, packages, swap

__all__ = ['libraries', 'machine', 'packages', 'swap']
