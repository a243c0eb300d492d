"""Everything that touches peft: injecting adapters, grouping, measuring, merging, saving them."""

from knowswap_mm.lora.adapter_file import AdapterFile
from knowswap_mm.lora.adapter_manifest import AdapterManifest
from knowswap_mm.lora.adapter_stack import AdapterStack
from knowswap_mm.lora.group_sparsity import GroupSparsity
from knowswap_mm.lora.host_state_dict import HostStateDict
from knowswap_mm.lora.lora_groups import LoRAGroups
from knowswap_mm.lora.lora_injector import LoRAInjector
from knowswap_mm.lora.merge import drop_adapter, merge_adapters, unload_adapters

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
