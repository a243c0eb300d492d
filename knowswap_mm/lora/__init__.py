"""Everything that touches peft: injecting adapters, grouping, measuring, merging, saving them."""

from knowswap_mm.lora.adapter import AdapterFile
from knowswap_mm.lora.groups import GroupSparsity, LoRAGroups
from knowswap_mm.lora.injector import LoRAInjector
from knowswap_mm.lora.manifest import AdapterManifest
from knowswap_mm.lora.merge import drop_adapter, merge_adapters, unload_adapters
from knowswap_mm.lora.stack import AdapterStack
from knowswap_mm.lora.tensors import HostStateDict

__all__ = [
    'AdapterFile',
    'AdapterManifest',
    'AdapterStack',
    'GroupSparsity',
    'HostStateDict',
    'LoRAGroups',
    'LoRAInjector',
    'drop_adapter',
    'merge_adapters',
    'unload_adapters',
]
