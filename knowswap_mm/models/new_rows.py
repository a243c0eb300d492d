"""New head rows as a parameter of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class NewRows(nn.Module):
    """Parametrization of a class-indexed tensor: frozen old rows, trainable new rows, frozen tail.

    A gradient mask would not do: the decay of AdamW moves masked rows. The tensor is read from and
    written to state dicts as one, under the host's key.

    Args:
        tensor (Tensor): The whole tensor.
        old (int): Number of old rows.
        total (int): Number of old and new rows; rows behind them are the tail.
    """

    def __init__(self, tensor: Tensor, old: int, total: int) -> None:
        super().__init__()
        self.old, self.total = old, total
        self.frozen = nn.Parameter(self._frozen_rows(tensor).clone(), requires_grad=False)

    def _frozen_rows(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor[: self.old], tensor[self.total :]]).detach()

    def forward(self, new: Tensor) -> Tensor:
        """Put the rows together."""
        return torch.cat([self.frozen[: self.old], new, self.frozen[self.old :]])

    def right_inverse(self, tensor: Tensor) -> Tensor:
        """Cut the new rows out; called by torch when a whole tensor is assigned."""
        return tensor[self.old : self.total].clone()

    @classmethod
    def apply_to(cls, module: nn.Module, name: str, old: int, total: int) -> None:
        """Split ``module.name`` into frozen and trainable rows.

        Args:
            module (nn.Module): Owner of the tensor.
            name (str): Attribute, e.g. ``weight``.
            old (int): Number of old rows.
            total (int): Number of old and new rows.
        """
        parametrize.register_parametrization(module, name, cls(getattr(module, name), old, total))
        module.parametrizations[name].original.requires_grad_(True)
        inner = f'parametrizations.{name}.'

        # The hooks ask their owner for the rows: a deep copy of the model must use its own.
        def join(owner: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
            state.pop(f'{prefix}{inner}0.frozen')
            new = state.pop(f'{prefix}{inner}original')
            state[prefix + name] = owner.parametrizations[name][0](new).detach()

        def split(owner: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
            if prefix + name in state:
                whole, rows = state.pop(prefix + name), owner.parametrizations[name][0]
                state[f'{prefix}{inner}0.frozen'] = rows._frozen_rows(whole)
                state[f'{prefix}{inner}original'] = rows.right_inverse(whole)

        module.register_state_dict_post_hook(join)
        module.register_load_state_dict_pre_hook(split)
