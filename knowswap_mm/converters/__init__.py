"""Weights of other code bases into those of the hosts, and back."""

from knowswap_mm.converters.key_table import Conversion, KeyRule, KeyTable
from knowswap_mm.converters.tables import TABLES, kind_of

__all__ = ['TABLES', 'Conversion', 'KeyRule', 'KeyTable', 'kind_of']
