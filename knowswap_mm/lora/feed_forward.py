"""Finds the feed-forward layers of a model by their structure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

#: The linear layers of mmcv's FFN, which ViT, Swin, DINO and Mask2Former share.
FFN_LINEARS = r'.*ffn\.layers\.(0\.0|1)'
#: mmdet's branches that predict boxes use mmcv's FFN, too, but are no part of a transformer.
_BRANCHES = r'(?:^|\.)reg_ffn(?:\.|$)'
_MANY = (nn.ModuleList, nn.Sequential)


@dataclass(frozen=True)
class _Map:
    """A linear layer or 1x1 convolution."""

    name: str
    inputs: int
    outputs: int
    linear: bool


def find_feed_forward(model: nn.Module) -> list[str]:
    """Names of the layers that make up the feed-forward layers of a model's blocks (issue 24).

    These are the linear layers of mmcv's FFN, and whatever has the structure of one: two linear
    layers or 1x1 convolutions, ``d -> h`` and ``h -> d`` with ``h > d``, side by side in one module
    of a block, with nothing but norms, activations, dropout and depthwise convolutions between
    them; or three with a gate (``d -> h`` twice, or ``d -> 2 h``). Only if a model has none of
    these, linear layers with ``h = d`` count, too. What stands in no list of blocks (heads), and
    the branches ``reg_ffn`` of box heads, are left out.

    Args:
        model (nn.Module): The model, with or without adapters.

    Returns:
        list[str]: Full names in the order of the model; empty if there are none.
    """
    modules = dict(model.named_modules())
    in_blocks = [(name, module) for name, module in modules.items() if _in_list(name, modules)]
    for wider in (True, False):
        found = {
            name
            for name, module in modules.items()
            if re.fullmatch(FFN_LINEARS, name) and not re.search(_BRANCHES, name)
            if isinstance(module, nn.Linear) or hasattr(module, 'base_layer')
        }
        for name, module in in_blocks:
            found.update(_in_module(name, module, wider))
        if found:
            break
    return [name for name in modules if name in found]


def _in_list(name: str, modules: dict[str, nn.Module]) -> bool:
    """Whether a module is an element of a list of modules, or lies in one."""
    parts = name.split('.')
    parents = ('.'.join(parts[:length]) for length in range(len(parts)))
    return bool(name) and any(isinstance(modules[parent], _MANY) for parent in parents)


def _in_module(name: str, module: nn.Module, wider: bool) -> Iterator[str]:
    if isinstance(module, nn.ModuleList) or _is_attention(module) or _has_matrix(module):
        return
    units = list(_units(name, module))
    start = 0
    while start < len(units):
        for length in (3, 2):
            window = units[start : start + length]
            if len(window) == length and None not in window and _is_ffn(window, wider):
                yield from (unit.name for unit in window)
                start += length - 1
                break
        start += 1


def _is_ffn(maps: Sequence[_Map], wider: bool) -> bool:
    if len(maps) == 2:
        up, down = maps
        width = down.inputs
        if down.outputs != up.inputs:
            return False
        if width == up.inputs:
            return not wider and up.outputs == width and up.linear and down.linear
        return width > up.inputs and up.outputs in (width, 2 * width)
    down = [each for each in maps if each.inputs > each.outputs]
    up = {(each.inputs, each.outputs) for each in maps if each not in down}
    return len(down) == 1 and up == {(down[0].outputs, down[0].inputs)}


def _units(name: str, module: nn.Module) -> Iterator[_Map | None]:
    """Maps of a module in their order; None for a child that does more than such a map."""
    for child_name, child in module.named_children():
        full = f'{name}.{child_name}' if name else child_name
        if type(child) is nn.Sequential:
            yield from _units(full, child)
            continue
        inside = [m for m in child.modules() if isinstance(_base(m), (nn.Linear, nn.Conv2d))]
        inside = [m for m in inside if not _is_depthwise(_base(m))]
        inner = next(((n, m) for n, m in child.named_modules() if inside and m is inside[0]), None)
        if inner is None:
            if not _is_plain(child):
                yield None
        elif _is_attention(child) or _wraps_more(child, inside):
            yield None
        else:
            yield _map(f'{full}.{inner[0]}' if inner[0] else full, _base(inner[1]))


def _wraps_more(child: nn.Module, inside: Sequence[nn.Module]) -> bool:
    """Whether a child is more than one layer with its norm, activation and dropout."""
    own = set(inside[0].modules())  # with the matrices of its adapters
    rest = [module for module in child.modules() if module not in own]
    return any(each in rest for each in inside) or not all(_is_small(each) for each in rest)


def _is_plain(child: nn.Module) -> bool:
    """Whether a child has no weights but those of norms and depthwise convolutions."""
    return all(_is_small(module) for module in child.modules())


def _is_small(module: nn.Module) -> bool:
    return _is_depthwise(_base(module)) or not _has_matrix(module)


def _map(name: str, layer: nn.Module) -> _Map | None:
    if isinstance(layer, nn.Linear):
        return _Map(name, layer.in_features, layer.out_features, linear=True)
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.groups == 1:
        return _Map(name, layer.in_channels, layer.out_channels, linear=False)
    return None


def _base(module: nn.Module) -> nn.Module:
    """The layer beneath adapters."""
    return getattr(module, 'base_layer', module)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _is_attention(module: nn.Module) -> bool:
    return bool(re.search('attention|attn|msa$', type(module).__name__, re.IGNORECASE))


def _has_matrix(module: nn.Module) -> bool:
    """Whether a module has a parameter of its own that is more than a vector."""
    return any(
        sum(size > 1 for size in parameter.shape) > 1
        for parameter in module.parameters(recurse=False)
    )
