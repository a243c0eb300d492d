"""Merging adapters into the weights that they adapt."""

from __future__ import annotations

import torch
from torch import nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora.lora_injector import lora_layers


@torch.no_grad()
def merge_adapters(model: nn.Module) -> nn.Module:
    """Merge all adapters in place and put the plain layers back.

    Afterwards the model has the module tree and the keys of its host, and holds neither adapters
    nor base weights.

    Args:
        model (nn.Module): A model with adapters.

    Returns:
        nn.Module: The same model.

    Raises:
        CheckpointError: If a merged weight would not be finite.
    """
    for name, layer in list(lora_layers(model)):
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise CheckpointError(f'The adapter of {name} cannot be merged: {error}.') from error
        parent_name, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent_name), child, layer.get_base_layer())
    for module in model.modules():
        # peft leaves the config of the adapter on the model that it injected into.
        if hasattr(module, 'peft_config'):
            del module.peft_config
    return model
