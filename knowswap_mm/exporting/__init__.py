"""From a swapped model to what stock tools take."""

from knowswap_mm.exporting.check import ExportCheck
from knowswap_mm.exporting.export import new_folder, refuse_existing
from knowswap_mm.exporting.files import host_config, plain_host_config, write_config
from knowswap_mm.exporting.host import ExportedHost
from knowswap_mm.exporting.role_tests import open_test_data, spread_samples, write_role_tests

__all__ = [
    'ExportCheck',
    'ExportedHost',
    'host_config',
    'new_folder',
    'open_test_data',
    'plain_host_config',
    'refuse_existing',
    'spread_samples',
    'write_config',
    'write_role_tests',
]
