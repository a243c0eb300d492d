"""Which layers can take an adapter that trains, and merges into the layer exactly."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from knowswap_mm.compat import Conv, TransposedConv, children_of, own_parameters

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

    Full names come in the order of the model, with or without adapters; none if there are none.
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
            if not all(map(_is_small, child.modules())):
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


def _is_small(module: nn.Module) -> bool:
    """Whether a module has no weights but those of norms and depthwise convolutions."""
    return _is_depthwise(_base(module)) or not _has_matrix(module)


def _map(name: str, layer: nn.Module) -> _Map | None:
    if isinstance(layer, nn.Linear):
        return _Map(name, layer.in_features, layer.out_features, linear=True)
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.groups == 1:
        return _Map(name, layer.in_channels, layer.out_channels, linear=False)
    return None


def _base(module: nn.Module) -> nn.Module:
    """The layer beneath adapters."""
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


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


#: Layers that compute nothing else.
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class TargetCheck:
    """Knows for each layer of a model whether an adapter on it would train (issue 24).

    Args:
        model (nn.Module): The model; earlier adapters may lie in it.
        rows (Collection[str]): Names of layers with a row a class.
    """

    def __init__(self, model: nn.Module, rows: Collection[str] = ()) -> None:
        self._modules = dict(model.named_modules())
        self._rows = set(rows)
        inside = [name for name, each in self._modules.items() if isinstance(each, LoraLayer)]
        self._inside = tuple(f'{name}.' for name in inside)
        children = (child for each in model.modules() for child in children_of(each).values())
        self._places = Counter(id(child) for child in children if child is not None)
        self._owners = Counter(
            id(parameter)
            for module in self._modules.values()
            for parameter in own_parameters(module).values()
            if parameter is not None
        )

    @property
    def names(self) -> list[str]:
        """Names of all modules that a target can mean: those within adapters are none."""
        return [name for name in self._modules if not name.startswith(self._inside)]

    def problem(self, name: str) -> str | None:
        """Why a module cannot take an adapter, as the rest of a sentence; None if it can."""
        layer = _base(self._modules[name])
        parent = self._modules.get(name.rpartition('.')[0])
        if not isinstance(layer, (nn.Linear, Conv)) or isinstance(layer, TransposedConv):
            return 'is neither linear nor a convolution'
        if name in self._rows:
            return 'has a row a class and can take no adapter'
        if _reads_weights_of(parent, name.rpartition('.')[2]):
            kind = type(parent).__name__
            return f'is not (always) called: {kind} reads its weight, past any adapter'
        if self._places[id(layer)] > 1 or self._places[id(self._modules[name])] > 1:
            return 'is used in several places, and an adapter would be in one of them only'
        if own_parameters(layer).get('weight') is None or parametrize.is_parametrized(layer):
            return 'has a weight that is computed, into which nothing can be merged'
        if self._owners[id(layer.weight)] > 1:
            return 'shares its weight with another layer, which a merge would change, too'
        if isinstance(layer, Conv):
            if layer.groups > 1:
                return f'is a convolution of {layer.groups} groups, which takes no adapter'
            if any(
                s > 1 and gap > 1 for s, gap in zip(layer.kernel_size, layer.dilation, strict=True)
            ):
                return 'is a dilated convolution, and its adapter would not be'
            if layer.padding_mode != 'zeros':
                return f'pads by {layer.padding_mode!r}, and its adapter would pad by zeros'
        if not _adapts_plainly(layer):
            return f'({type(layer).__name__}) computes more than its weight and bias say'
        return None

    def problems(self, names: Collection[str]) -> dict[str, str]:
        """Those of several modules that cannot take an adapter, with the reasons."""
        found = {name: self.problem(name) for name in names}
        return {name: problem for name, problem in found.items() if problem is not None}

    def offer(self) -> str:
        """A fix for a user: a pattern of which each match can take an adapter."""
        names, kinds = self.names, (nn.Linear, Conv)
        usual = find_feed_forward(self._modules[''])
        usual = [name for name in usual if self.problem(name) is None]
        others = [name for name in names if isinstance(_base(self._modules[name]), kinds)]
        layers = usual or [name for name in others if self.problem(name) is None]
        alone = 'leave it out for the feed-forward layers, or ' if usual else ''
        for kept in (0, 1, 99):  # parts at the end of a name that stay as they are
            patterns = Counter(_pattern(name, kept) for name in layers)
            for pattern, _ in patterns.most_common():
                matched = [name for name in names if re.fullmatch(pattern, name)]
                if not self.problems(matched):
                    shown = f"model.lora.targets = r'{pattern}'"
                    return f'{alone}set e.g. {shown}, which matches {matched[-1]}'
        return 'use another host: no layer of this one can take an adapter'


def _pattern(name: str, kept: int) -> str:
    """A pattern for a layer and those at the same place of other blocks."""
    parts = name.split('.')
    numbers = parts[: len(parts) - kept]
    same = [r'\d+' if part.isdigit() else re.escape(part) for part in numbers]
    return r'\.'.join([*same, *map(re.escape, parts[len(numbers) :])])


def _reads_weights_of(parent: nn.Module | None, child: str) -> bool:
    """Whether a module computes with the weights of a child instead of calling it, be it at times.

    torch's attention does, and so do BEiT's and Swin V2's, whose biases are computed in each call.
    """
    if isinstance(parent, nn.MultiheadAttention):
        return True
    if parent is None or not child.isidentifier():
        return False
    read = rf'[=(,]\s*self\.{child}\.weight\s*[,)]'
    return re.search(read, _source_of(type(parent))) is not None


@lru_cache(maxsize=256)
def _source_of(kind: type) -> str:
    """The source of a module's methods but for those that make it; empty if there is none."""
    text = []
    for each in kind.__mro__:
        if each.__module__.startswith('torch.'):
            break
        for name, method in vars(each).items():
            if inspect.isfunction(method) and 'init' not in name:
                try:
                    text.append(inspect.getsource(method))
                except (OSError, TypeError):  # the gradients will tell
                    continue
    return '\n'.join(text)


@torch.no_grad()
def _adapts_plainly(layer: nn.Module) -> bool:
    """Whether a layer computes what torch does with its weight and bias."""
    if type(layer) in _PLAIN or layer.weight.is_meta:
        return True
    try:
        x = _probe(layer)
        found, wanted = layer(x), _apply(layer, x)
        return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-3, atol=1e-5)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return False


def _probe(layer: nn.Module) -> Tensor:
    size = [2, layer.weight.shape[1]]
    if isinstance(layer, Conv):
        size += [2 * kernel + 3 for kernel in layer.kernel_size]
    numbers = torch.arange(torch.Size(size).numel(), device=layer.weight.device)
    return (numbers.double() * 0.7).sin().reshape(size).to(layer.weight.dtype)


def _apply(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(x, layer.weight, layer.bias)
    convolve = _CONVOLVE[len(layer.kernel_size)]
    return convolve(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)
