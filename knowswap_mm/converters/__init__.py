"""Weights of other code bases into those of the hosts, and back."""

from knowswap_mm.converters.key_table import Conversion, KeyRule, KeyTable
from knowswap_mm.converters.tables import TABLES

__all__ = ['TABLES', 'Conversion', 'KeyRule', 'KeyTable']
