"""New head rows as a parameter of their own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from knowswap_mm.lora.row_layout import RowLayout


class NewRows(nn.Module):
    """Parametrization of a class-indexed tensor: frozen old rows, trainable new rows, frozen rest.

    A gradient mask would not do: the decay of AdamW moves masked rows. The tensor is read from and
    written to state dicts as one, under the host's key.

    Args:
        tensor (Tensor): The whole tensor.
        old (int): Number of old classes.
        layout (RowLayout): Where the classes lie.
    """

    def __init__(self, tensor: Tensor, old: int, layout: RowLayout) -> None:
        super().__init__()
        self.old, self.layout = old, layout
        self.frozen = nn.Parameter(self.frozen_rows(tensor).clone(), requires_grad=False)

    def frozen_rows(self, tensor: Tensor) -> Tensor:
        """All but the new rows of a whole tensor."""
        return self.layout.old_part(tensor, self.old).detach()

    def forward(self, new: Tensor) -> Tensor:
        """Put the rows together."""
        return self.layout.join(self.frozen, new, self.old)

    def right_inverse(self, tensor: Tensor) -> Tensor:
        """Cut the new rows out; called by torch when a whole tensor is assigned."""
        return self.layout.new_part(tensor, self.old).clone()

    @classmethod
    def apply_to(cls, module: nn.Module, name: str, old: int, layout: RowLayout) -> None:
        """Split ``module.name`` into frozen and trainable rows.

        Args:
            module (nn.Module): Owner of the tensor.
            name (str): Attribute, e.g. ``weight``.
            old (int): Number of old classes.
            layout (RowLayout): Where the classes lie.
        """
        parametrize.register_parametrization(module, name, cls(getattr(module, name), old, layout))
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
                state[f'{prefix}{inner}0.frozen'] = rows.frozen_rows(whole)
                state[f'{prefix}{inner}original'] = rows.right_inverse(whole)

        module.register_state_dict_post_hook(join)
        module.register_load_state_dict_pre_hook(split)
