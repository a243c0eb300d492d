"""Puts LoRA adapters into a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from peft import LoraConfig
from peft.functional import inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from knowswap_mm.errors import ConfigError

#: The linears of mmcv's FFN, which ViT, Swin, DINO and Mask2Former share.
FFN_LINEARS = r'.*ffn\.layers\.(0\.0|1)'


class LoRAInjector:
    """Injects one LoRA adapter into the linears of a model and freezes everything else.

    The defaults are the paper's: rank 8, scale alpha / rank = 1 / 8, FFN linears only,
    A from Kaiming-uniform with a = sqrt(50), B = 0 (official code, read in 2.1 of our notes).

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
        if not isinstance(rank, int) or rank < 1:
            raise ConfigError('model.lora.rank', rank, 'not a whole number >= 1', 'e.g. 8')
        if not alpha > 0:
            raise ConfigError('model.lora.alpha', alpha, 'not a number > 0', 'e.g. 1')
        if not 0 <= dropout < 1:
            raise ConfigError('model.lora.dropout', dropout, 'not in [0, 1)', 'e.g. 0')
        self.targets = targets if isinstance(targets, str) else list(targets)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.a_init = a_init
        self.adapter_name = adapter_name

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
            inject_adapter_in_model(self.peft_config(), model, adapter_name=self.adapter_name)
        except ValueError as error:
            fix = f'write a pattern that matches some of the linears, e.g. {linears[-4:]}'
            problem = f'no module can take an adapter ({error})'
            raise ConfigError('model.lora.targets', self.targets, problem, fix) from None
        for _, layer in lora_layers(model):
            self._initialise(layer)
        return model

    @torch.no_grad()
    def _initialise(self, layer: LoraLayer) -> None:
        nn.init.kaiming_uniform_(layer.lora_A[self.adapter_name].weight, a=self.a_init)
        nn.init.zeros_(layer.lora_B[self.adapter_name].weight)


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Names and modules of all layers with adapters."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices A and B of all adapters by full name."""
    found = {}
    for name, layer in lora_layers(model):
        for part in ('lora_A', 'lora_B'):
            for adapter, linear in getattr(layer, part).items():
                found[f'{name}.{part}.{adapter}.weight'] = linear.weight
    return found
