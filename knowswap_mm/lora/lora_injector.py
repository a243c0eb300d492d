"""Puts LoRA adapters into a model."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.functional import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.value_checks import check_keys, check_mapping, check_whole

#: The linears of mmcv's FFN, which ViT, Swin, DINO and Mask2Former share.
FFN_LINEARS = r'.*ffn\.layers\.(0\.0|1)'


class LoRAInjector:
    """Injects one LoRA adapter into the linears of a model and freezes everything else.

    The defaults are the paper's: rank 8, scale alpha / rank = 1 / 8, FFN linears only,
    A from Kaiming-uniform with a = sqrt(50), B = 0 (as in the official code).

    Args:
        targets (str | Sequence[str]): Regular expression over full module names, or a list of
            name endings.
        rank (int): Rank r.
        alpha (float): Numerator of the scale alpha / r.
        dropout (float): Dropout on the adapter's input.
        a_init (float): The ``a`` of A's Kaiming-uniform initialisation.
        adapter_name (str): Name of the adapter.

    Raises:
        ConfigError: If a value cannot be used.
    """

    def __init__(
        self,
        targets: str | Sequence[str] = FFN_LINEARS,
        rank: int = 8,
        alpha: float = 1,
        dropout: float = 0.0,
        a_init: float = math.sqrt(50),
        adapter_name: str = 'default',
    ) -> None:
        check_whole('model.lora.rank', rank, 1, 8)
        if not _is_number(alpha) or not 0 < alpha < math.inf:
            raise ConfigError('model.lora.alpha', alpha, 'not a finite number > 0', 'e.g. 1')
        if not _is_number(dropout) or not 0 <= dropout < 1:
            raise ConfigError('model.lora.dropout', dropout, 'not in [0, 1)', 'e.g. 0')
        if not _is_number(a_init) or not 0 <= a_init < math.inf:
            fix = 'e.g. 7.0711 for sqrt(50)'
            raise ConfigError('model.lora.a_init', a_init, 'not a finite number >= 0', fix)
        if not isinstance(adapter_name, str) or not adapter_name or '.' in adapter_name:
            fix = "use a plain word, e.g. 'default'"
            raise ConfigError('model.lora.adapter_name', adapter_name, 'cannot name a module', fix)
        self.targets = _check_targets(targets)
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

    def peft_config(self) -> LoraConfig:
        """The same settings in peft's words."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.targets,
        )

    def inject(self, model: nn.Module) -> nn.Module:
        """Inject in place.

        Args:
            model (nn.Module): The host; afterwards only adapters require gradients.

        Returns:
            nn.Module: The same model.

        Raises:
            ConfigError: If the targets match no linear of the model.
        """
        linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        try:
            with warnings.catch_warnings():
                # Several adapters in one model are what a stack is.
                warnings.filterwarnings('ignore', 'Already found a `peft_config`')
                inject_adapter_in_model(self.peft_config(), model, adapter_name=self.adapter_name)
        except ValueError as error:
            fix = f'write a pattern that matches some of the linears, e.g. {linears[-4:]}'
            problem = f'no module can take an adapter ({error})'
            raise ConfigError('model.lora.targets', self.targets, problem, fix) from None
        for name, layer in lora_layers(model):
            # A layer that only adapters beneath this one target has no rank for it.
            if self.adapter_name in layer.r and self.adapter_name not in layer.lora_A:
                fix = f'match linears or convolutions only, e.g. {linears[-4:]}'
                problem = f'{name} is neither linear nor a convolution'
                raise ConfigError('model.lora.targets', self.targets, problem, fix)
        self.initialise(model)
        return model

    @torch.no_grad()
    def initialise(self, model: nn.Module) -> None:
        """Give the adapters of a model their first values: A random, B zero."""
        for _, layer in lora_layers(model):
            if self.adapter_name not in layer.lora_A:
                continue
            nn.init.kaiming_uniform_(layer.lora_A[self.adapter_name].weight, a=self.a_init)
            nn.init.zeros_(layer.lora_B[self.adapter_name].weight)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_targets(targets: str | Sequence[str]) -> str | list[str]:
    key, fix = 'model.lora.targets', 'use a regular expression or a list of name endings'
    if isinstance(targets, str):
        try:
            re.compile(targets)
        except re.error as error:
            raise ConfigError(key, targets, f'no regular expression ({error})', fix) from None
        return targets
    if not isinstance(targets, Sequence) or any(not isinstance(t, str) for t in targets):
        raise ConfigError(key, targets, 'neither text nor a list of texts', fix)
    return list(targets)


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Names and modules of all layers with adapters."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def adapter_parameters(model: nn.Module, name: str | None = None) -> dict[str, nn.Parameter]:
    """The matrices A and B by full name, of all adapters or of one.

    Args:
        model (nn.Module): A model with adapters.
        name (str | None): Name of the adapter; None for all.
    """
    found = {}
    for layer_name, layer in lora_layers(model):
        for part in ('lora_A', 'lora_B'):
            for adapter, linear in getattr(layer, part).items():
                if name in (None, adapter):
                    found[f'{layer_name}.{part}.{adapter}.weight'] = linear.weight
    return found
