"""Learning that spares the weights that retained knowledge depends on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.lora_injector import adapter_parameters, lora_layers
from knowswap_mm.models.losses.diagonal_fisher import diagonal_fisher
from knowswap_mm.models.losses.swapping_loss import SwappingLoss
from knowswap_mm.models.original_host import original_host
from knowswap_mm.registry import MODELS
from knowswap_mm.schedule import SwapPhase


@MODELS.register_module()
class ElasticWeightLoss(SwappingLoss):
    r"""Adds the elastic penalty to :class:`SwappingLoss`, in every phase.

    .. math:: \frac{\lambda}{2} \sum_i F_i \, (\theta_i - \theta_i^{start})^2

    Elastic weight consolidation (Kirkpatrick et al., "Overcoming catastrophic forgetting in neural
    networks", 2017). :math:`F` is the diagonal Fisher information of the host before the swap on
    retain data, see :class:`FisherHook`. Adapters count by what they do to the weight: with
    ``B = 0`` the Fisher information of A is zero, so :math:`\theta - \theta^{start}` is the scaled
    product ``B A`` of a linear. Trainable rows of old classes count by their difference; rows of
    new classes held no knowledge at the start and are free.

    Args:
        strength (float): :math:`\lambda`.
        group_by (str): Groups of the sparse term: ``block``, ``lora`` or ``matrix``.
        group_exclude (Sequence[str]): Regular expressions of linears that are in no group.

    Raises:
        ConfigError: If the strength cannot be used.
    """

    def __init__(
        self, strength: float = 1.0, group_by: str = 'block', group_exclude: Sequence[str] = ()
    ) -> None:
        super().__init__(group_by, group_exclude)
        if type(strength) not in (int, float) or not 0 <= strength < math.inf:
            key = 'model.loss.strength'
            raise ConfigError(key, strength, 'not a finite number >= 0', 'e.g. 1.0')
        self.strength = strength
        # Neither modules nor buffers: the values are made anew from what is stored anyway.
        self._layers: dict[str, nn.Module] = {}
        self._rows: dict[str, nn.Parameter] = {}
        self._start: dict[str, Tensor] = {}
        self._fisher: dict[str, Tensor] | None = None

    def attach(self, model: nn.Module) -> None:
        """Find adapters and trainable rows of the model, too."""
        super().attach(model)
        self._layers = {f'{name}.weight': layer for name, layer in lora_layers(model)}
        adapters = adapter_parameters(model)
        self._rows = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name not in adapters
        }

    def consolidate(self, swapper: nn.Module, samples: Iterable[dict[str, Any]]) -> None:
        """Measure the Fisher information of the host before the swap.

        Args:
            swapper (nn.Module): The :class:`KnowledgeSwapper`, at any time of a swap.
            samples (Iterable[dict]): Retain samples, one each, as for :func:`diagonal_fisher`.
        """
        host, rows = original_host(swapper), swapper.class_rows
        self._start = {
            tensor.name: swapper.start_rows.tensors()[tensor.name]
            for tensor in rows.tensors
            if tensor.name in self._rows
        }
        fisher = diagonal_fisher(host, [*self._layers, *self._start], samples)
        for tensor in rows.tensors:
            if tensor.name in self._start:
                tensor.layout.new_view(fisher[tensor.name], rows.old).zero_()
        self._fisher = fisher

    def penalty(self) -> Tensor:
        """The weighted square of all changes, without strength.

        Raises:
            ConfigError: If the Fisher information was not measured.
        """
        if self._fisher is None:
            fix = "add dict(type='knowswap_mm.FisherHook') to custom_hooks"
            problem = 'the Fisher information was not measured'
            raise ConfigError('custom_hooks', None, problem, fix)
        device = next(iter(self._fisher.values())).device
        with torch.autocast(
            device.type, enabled=False
        ):  # changes are small beside bfloat16's steps
            parts = [
                (fisher * self._change(name).float().square()).sum()
                for name, fisher in self._fisher.items()
            ]
            return torch.stack(parts).sum()

    def _change(self, name: str) -> Tensor:
        if name in self._rows:
            return self._rows[name] - self._start[name]
        layer = self._layers[name]
        return sum(layer.get_delta_weight(adapter) for adapter in layer.active_adapters)

    def common_terms(self, phase: SwapPhase) -> dict[str, Tensor]:
        """The group-sparse term and the penalty."""
        terms = super().common_terms(phase)
        value = self.penalty()
        terms['loss_elastic'] = self.strength / 2 * value
        terms['elastic'] = value.detach()
        return terms
