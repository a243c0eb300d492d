"""Taking adapters out of a model: merged into the weights, or dropped; each returns the model."""

from __future__ import annotations

import torch
from peft.functional import delete_adapter
from torch import nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora.injector import lora_layers


@torch.no_grad()
def merge_adapters(model: nn.Module) -> nn.Module:
    """Merge all active adapters in place and put the plain layers back.

    Afterwards the model has the module tree and the keys of its host, and holds neither adapters
    nor base weights.

    Raises:
        CheckpointError: If a merged weight would not be finite; nothing is changed then.
    """
    layers = list(lora_layers(model))
    for name, layer in layers:  # all of them first: a refused merge must leave the model whole
        merged = layer.get_base_layer().weight
        for adapter in layer.active_adapters:
            # One of a stack may leave this layer out.
            if adapter in layer.lora_A and adapter not in layer.merged_adapters:
                merged = merged + layer.get_delta_weight(adapter)
        if not torch.isfinite(merged).all():
            raise CheckpointError(
                f'The adapter of {name} cannot be merged: the merged weight is not finite. '
                'Fix: export an earlier checkpoint.'
            )
    for _, layer in layers:
        if layer.active_adapters:  # none is left where the newest of a stack was dropped
            layer.merge(safe_merge=True)
    return unload_adapters(model)


def drop_adapter(model: nn.Module, adapter: str) -> nn.Module:
    """Take one adapter of several out of a model; the others stay active and in place."""
    delete_adapter(model, adapter, prefix='lora_')
    for module in model.modules():
        getattr(module, 'peft_config', {}).pop(adapter, None)
    return model


def unload_adapters(model: nn.Module) -> nn.Module:
    """Put the plain layers back in place, base weights as they are; drop the adapters."""
    for name, layer in list(lora_layers(model)):
        parent_name, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent_name), child, layer.get_base_layer())
    for module in model.modules():
        # peft leaves the config of the adapter on the model that it injected into.
        if hasattr(module, 'peft_config'):
            del module.peft_config
    return model
