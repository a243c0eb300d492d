"""From a swapped model to what stock tools take."""

from knowswap_mm.exporting.check import ExportCheck
from knowswap_mm.exporting.export import new_folder
from knowswap_mm.exporting.files import plain_host_config
from knowswap_mm.exporting.host import ExportedHost

__all__ = ['ExportCheck', 'ExportedHost', 'new_folder', 'plain_host_config']
