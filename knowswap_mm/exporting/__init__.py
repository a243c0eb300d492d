"""From a swapped model to what stock tools take."""

from knowswap_mm.exporting.exported_host import ExportedHost
from knowswap_mm.exporting.plain_config import plain_host_config

__all__ = ['ExportedHost', 'plain_host_config']
