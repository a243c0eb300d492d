"""Norms of what an adapter changes in each transformer block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowswap_mm.lora.lora_groups import LoRAGroups
from knowswap_mm.lora.lora_injector import lora_layers


class BlockNorms:
    """Frobenius norms by transformer block; all results stay on the device.

    Args:
        model (nn.Module): A model with adapters.
        adapter (str): The adapter that trains.

    Attributes:
        names (list[str]): The blocks, in the order of the modules: as a rule from the input to the
            output.
    """

    def __init__(self, model: nn.Module, adapter: str) -> None:
        groups = LoRAGroups(model, adapter=adapter)
        layers = dict(lora_layers(model))
        self.names = groups.names
        self._parameters = groups.parameters
        self._layers = [
            layers[name] for name in LoRAGroups(model, by='lora', adapter=adapter).names
        ]
        self._adapter = adapter
        self._nothing = torch.zeros((), device=self.device)
        # A and B of a layer follow each other in the groups.
        self._of_parameters = _membership(groups.membership, len(groups), self.device)
        self._of_layers = _membership(groups.membership[::2], len(groups), self.device)

    @property
    def device(self) -> torch.device:
        """Device of the adapter."""
        return self._parameters[0].device

    @torch.no_grad()
    def gradients(self) -> Tensor:
        """Norm of the gradient of all LoRA matrices of a block, ``(blocks,)``; 0 without one."""
        norms = [self._nothing] * len(self._parameters)
        found = [(i, p.grad) for i, p in enumerate(self._parameters) if p.grad is not None]
        if found:  # an expand phase has none
            positions, gradients = zip(*found, strict=True)
            for position, norm in zip(positions, torch._foreach_norm(gradients), strict=True):
                norms[position] = norm.float()
        return (self._of_parameters @ torch.stack(norms).square()).sqrt()

    @torch.no_grad()
    def matrices(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of A and B of each layer."""
        return [(a.clone(), b.clone()) for a, b in self._pairs()]

    @torch.no_grad()
    def updates(self, since: list[tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """Norm of what the adapter adds to the weights of a block, ``(blocks,)``.

        Args:
            since (list | None): What :meth:`matrices` gave earlier: the norm of the change since
                then.
        """
        squares = []
        for position, (layer, (a, b)) in enumerate(zip(self._layers, self._pairs(), strict=True)):
            update = b.float() @ a.float()
            if since is not None:
                old_a, old_b = (each.to(update) for each in since[position])
                update = update - old_b @ old_a
            squares.append((layer.scaling[self._adapter] * update).square().sum())
        return (self._of_layers @ torch.stack(squares)).sqrt()

    @torch.no_grad()
    def weights(self) -> Tensor:
        """Norm of the frozen weights that the adapter adds to, ``(blocks,)``."""
        squares = [layer.get_base_layer().weight.float().square().sum() for layer in self._layers]
        return (self._of_layers @ torch.stack(squares)).sqrt()

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        name = self._adapter
        return [(each.lora_A[name].weight, each.lora_B[name].weight) for each in self._layers]


def _membership(groups: list[int], count: int, device: torch.device) -> Tensor:
    matrix = torch.zeros(count, len(groups))
    matrix[groups, torch.arange(len(groups))] = 1
    return matrix.to(device)
