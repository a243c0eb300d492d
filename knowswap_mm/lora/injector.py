"""Puts LoRA adapters into a model."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.functional import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from knowswap_mm.checks import check_keys, check_mapping, check_number, check_patterns, check_whole
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.targets import TargetCheck, find_feed_forward

_KEY = 'model.lora.targets'
#: The rank by default (the paper's).
RANK = 8
#: The targets by default. No module can have this name, so no regular expression means it.
FEED_FORWARD = 'feed-forward'


class LoRAInjector:
    """Injects one LoRA adapter into the linear layers of a model and freezes everything else.

    The defaults are the paper's: rank 8, scale alpha / rank = 1 / 8, FFN linear layers only,
    A from Kaiming-uniform with a = sqrt(50), B = 0 (as in the official code).

    Args:
        targets (str | Sequence[str]): Regular expression over full module names, or a list of
            name endings. ``'feed-forward'`` finds the feed-forward layers of the blocks by their
            structure, see :func:`~knowswap_mm.lora.targets.find_feed_forward`: two linear
            layers or 1x1 convolutions, ``d -> h -> d``, gated or not; not ``reg_ffn`` of box heads.
        rank (int): Rank r.
        alpha (float): Numerator of the scale alpha / r.
        dropout (float): Dropout on the adapter's input.
        a_init (float): The ``a`` of A's Kaiming-uniform initialisation.
        adapter_name (str): Name of the adapter.
        exclude (Sequence[str]): Regular expressions; what one of them matches somewhere is no
            target (``['stages.0']`` leaves out a stage that stays frozen).

    Raises:
        ConfigError: If a value cannot be used.
    """

    def __init__(
        self,
        targets: str | Sequence[str] = FEED_FORWARD,
        rank: int = RANK,
        alpha: float = 1,
        dropout: float = 0.0,
        a_init: float = math.sqrt(50),
        adapter_name: str = 'default',
        exclude: Sequence[str] = (),
    ) -> None:
        check_whole('model.lora.rank', rank, 1, RANK)
        check_number('model.lora.alpha', alpha, '> 0', 1)
        check_number('model.lora.dropout', dropout, 'in [0, 1)', 0)
        check_number('model.lora.a_init', a_init, '>= 0', 'e.g. 7.0711 for sqrt(50)')
        if not isinstance(adapter_name, str) or not adapter_name or '.' in adapter_name:
            fix = "use a plain word, e.g. 'default'"
            raise ConfigError('model.lora.adapter_name', adapter_name, 'cannot name a module', fix)
        self.targets = _check_targets(targets)
        check_patterns('model.lora.exclude', exclude)
        self.exclude = list(exclude)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.a_init = a_init
        self.adapter_name = adapter_name

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LoRAInjector:
        """Build from the ``model.lora`` field of a config.

        Raises:
            ConfigError: If a key is unknown or a value cannot be used.
        """
        check_mapping('model.lora', config, 'dict(rank=8, alpha=1)')
        check_keys('model.lora', config, inspect.signature(cls).parameters)
        return cls(**config)

    def peft_config(self, targets: Sequence[str] | None = None) -> LoraConfig:
        """The same settings in peft's words; ``targets`` are full names, or None for the own."""
        pattern = self.targets if targets is None else '|'.join(re.escape(t) for t in targets)
        sizes = dict(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout)
        return LoraConfig(**sizes, target_modules=pattern)

    def inject(self, model: nn.Module, rows: Collection[str] = ()) -> nn.Module:
        """Inject in place, and return the model; afterwards only adapters require gradients.

        Layers named in ``rows``, those with a row a class, take no adapter.

        Raises:
            ConfigError: If the targets match nothing, or a layer whose adapter would not train.
        """
        names = self.find(model, rows)
        with warnings.catch_warnings():
            # Several adapters in one model are what a stack is.
            warnings.filterwarnings('ignore', 'Already found a `peft_config`')
            config = self.peft_config(names)
            inject_adapter_in_model(config, model, adapter_name=self.adapter_name)
        for name in names:
            parent = name.rpartition('.')[0]
            if isinstance(model.get_submodule(parent), nn.TransformerEncoderLayer):
                # In evaluation torch's layer computes past its linear layers, and would leave the
                # adapters out. It does not if one of them has a hook.
                model.get_submodule(name).register_forward_pre_hook(_keeps_being_called)
        self.initialise(model)
        return model

    def find(self, model: nn.Module, rows: Collection[str] = ()) -> list[str]:
        """Names of the layers that get an adapter; arguments and errors as for :meth:`inject`."""
        check = TargetCheck(model, rows)
        if self.targets == FEED_FORWARD:
            matched = find_feed_forward(model)
            problems = check.problems(matched)
            matched = [name for name in matched if name not in problems]
        else:
            matched = [name for name in check.names if _matches(self.targets, name)]
        names = [n for n in matched if not any(re.search(each, n) for each in self.exclude)]
        if not names and matched:
            problem = f'leaves no target of {len(matched)}'
            raise ConfigError('model.lora.exclude', self.exclude, problem, 'exclude fewer of them')
        if not names:
            problem = 'no module can take an adapter: it matches none'
            if self.targets == FEED_FORWARD:
                problem = 'the model has no feed-forward layer that can take an adapter'
            raise ConfigError(_KEY, self.targets, problem, check.offer())
        if problems := check.problems(names):
            shown = '; '.join(f'{name} {why}' for name, why in list(problems.items())[:3])
            more = f' (and {len(problems) - 3} more)' if len(problems) > 3 else ''
            raise ConfigError(_KEY, self.targets, shown + more, check.offer())
        return names

    @torch.no_grad()
    def initialise(self, model: nn.Module) -> None:
        """Give the adapters of a model their first values: A random, B zero."""
        for _, layer in lora_layers(model):
            if self.adapter_name not in layer.lora_A:
                continue
            nn.init.kaiming_uniform_(layer.lora_A[self.adapter_name].weight, a=self.a_init)
            nn.init.zeros_(layer.lora_B[self.adapter_name].weight)


def _keeps_being_called(module: nn.Module, args: Any) -> None:
    """Do nothing; see where it is registered."""


def _matches(targets: str | Sequence[str], name: str) -> bool:
    """Whether a name is meant, by peft's rules."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f'.{target}') for target in targets)


def _check_targets(targets: str | Sequence[str]) -> str | list[str]:
    key, fix = _KEY, 'use a regular expression or a list of name endings'
    if isinstance(targets, str):
        try:
            re.compile(targets)
        except re.error as error:
            raise ConfigError(key, targets, f'no regular expression ({error})', fix) from None
        return targets
    if not isinstance(targets, Sequence) or any(not isinstance(t, str) for t in targets):
        raise ConfigError(key, targets, 'neither a string nor a list of strings', fix)
    return list(targets)


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Names and modules of all layers with adapters."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def adapter_parameters(model: nn.Module, name: str | None = None) -> dict[str, nn.Parameter]:
    """The matrices A and B by full name, of all adapters or of the one of this name."""
    return {
        f'{layer_name}.{part}.{adapter}.weight': linear.weight
        for layer_name, layer in lora_layers(model)
        for part in ('lora_A', 'lora_B')
        for adapter, linear in getattr(layer, part).items()
        if name in (None, adapter)
    }
