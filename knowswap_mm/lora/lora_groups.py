"""The groups of the group-sparse term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.lora_injector import lora_layers
from knowswap_mm.value_checks import check_texts

GROUP_BY = ('block', 'lora', 'matrix')


class LoRAGroups:
    """Groups of LoRA matrices, found by walking the model.

    ``block`` puts all matrices of one transformer block together (the paper's groups: A and B of
    both FFN linears), ``lora`` the A and B of one linear, ``matrix`` each on its own. The block of
    a linear is its nearest ancestor that is an element of a ``ModuleList``, which is how most
    OpenMMLab transformers hold their layers, or of a ``Sequential``, if several linears with
    adapters lie in it (ConvNeXt, PoolFormer).

    Args:
        model (nn.Module): A model with adapters.
        by (str): ``block``, ``lora`` or ``matrix``.
        exclude (Sequence[str]): Regular expressions; a linear whose name one of them matches
            somewhere is in no group (``['decoder']`` leaves a detector's decoder out).
        adapter (str | None): The adapter whose matrices are grouped; None takes those that can
            train, so that frozen adapters of earlier swaps are in no group.

    Attributes:
        names (list[str]): Names of the groups.
        parameters (list[nn.Parameter]): All matrices in groups.
        membership (list[int]): Group of each matrix.

    Raises:
        ConfigError: If ``by`` is unknown, or no matrix is left.
    """

    def __init__(
        self,
        model: nn.Module,
        by: str = 'block',
        exclude: Sequence[str] = (),
        adapter: str | None = None,
    ) -> None:
        if by not in GROUP_BY:
            raise ConfigError('model.loss.group_by', by, 'unknown grouping', f'use {GROUP_BY}')
        check_texts('model.loss.group_exclude', exclude, 'decoder')
        self._check_patterns(exclude)
        elements = list_elements(model)
        self.names: list[str] = []
        self.parameters: list[nn.Parameter] = []
        self.membership: list[int] = []
        position: dict[str, int] = {}
        for layer_name, layer in lora_layers(model):
            if any(re.search(pattern, layer_name) for pattern in exclude):
                continue
            for part in ('lora_A', 'lora_B'):
                for name, linear in getattr(layer, part).items():
                    if name != adapter if adapter else not linear.weight.requires_grad:
                        continue
                    group = {
                        'block': block_of(layer_name, elements),
                        'lora': layer_name,
                        'matrix': f'{layer_name}.{part}.{name}',
                    }[by]
                    if group not in position:
                        position[group] = len(self.names)
                        self.names.append(group)
                    self.parameters.append(linear.weight)
                    self.membership.append(position[group])
        if not self.names:
            fix = 'inject adapters first, or exclude fewer of them'
            raise ConfigError('model.loss.group_exclude', list(exclude), 'no group is left', fix)

    @staticmethod
    def _check_patterns(exclude: Sequence[str]) -> None:
        key, fix = 'model.loss.group_exclude', "use a list of regular expressions, e.g. ['decoder']"
        if isinstance(exclude, str) or any(not isinstance(pattern, str) for pattern in exclude):
            raise ConfigError(key, exclude, 'no list of texts', fix)
        for pattern in exclude:
            try:
                re.compile(pattern)
            except re.error as error:
                problem = f'{pattern!r} is no regular expression ({error})'
                raise ConfigError(key, list(exclude), problem, fix) from None

    def __len__(self) -> int:
        return len(self.names)


def list_elements(model: nn.Module) -> set[str]:
    """Names of what can be a block: elements of lists, of which a layer alone is none.

    Args:
        model (nn.Module): A model with adapters.
    """
    layers = Counter(
        '.'.join(parts[:length])
        for parts in (name.split('.') for name, _ in lora_layers(model))
        for length in range(1, len(parts))
    )
    elements = set()
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            names = [f'{name}.{child}' if name else child for child in module._modules]
            several = isinstance(module, nn.Sequential)
            elements.update(each for each in names if not several or layers[each] > 1)
    return elements


def block_of(name: str, elements: set[str]) -> str:
    """The block in which a layer lies, or the module that holds it if there is none.

    Args:
        name (str): Name of the layer.
        elements (set[str]): What :func:`list_elements` found.
    """
    parts = name.split('.')
    for length in range(len(parts), 0, -1):
        prefix = '.'.join(parts[:length])
        if prefix in elements:
            return prefix
    return '.'.join(parts[:-1]) or name
