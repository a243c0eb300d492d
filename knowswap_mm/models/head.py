"""Which rows of the class-indexed tensors train."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from knowswap_mm.checks import check_choice
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.models.class_rows import ClassRows


class NewRows(nn.Module):
    """Parametrization of a class-indexed tensor: frozen old rows, trainable new rows, frozen rest.

    A gradient mask would not do: the decay of AdamW moves masked rows. The tensor is read from and
    written to state dicts as one, under the host's key.

    Args:
        tensor (Tensor): The whole tensor, with one axis of classes.
        old (int): Number of old classes.
        layout (RowLayout): Where the classes lie.
    """

    def __init__(self, tensor: Tensor, old: int, layout: RowLayout) -> None:
        super().__init__()
        self.old, self.layout = old, layout
        self.frozen = nn.Parameter(self.frozen_rows(tensor).clone(), requires_grad=False)

    def frozen_rows(self, tensor: Tensor) -> Tensor:
        """All but the new rows of a whole tensor, in its shape but for the axis of classes."""
        return self.layout.old_part(tensor, self.old).detach()

    def forward(self, new: Tensor) -> Tensor:
        """The whole tensor, from the new rows and the frozen ones."""
        return self.layout.join(self.frozen, new, self.old)

    def right_inverse(self, tensor: Tensor) -> Tensor:
        """Cut the new rows out; called by torch when a whole tensor is assigned."""
        return self.layout.new_part(tensor, self.old).clone()

    @classmethod
    def apply_to(cls, module: nn.Module, name: str, old: int, layout: RowLayout) -> None:
        """Split a tensor, ``module.name``, into frozen and trainable rows; see the class."""
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


class StartRows(nn.Module):
    """Remembers the head with which a swap began, in every checkpoint of it.

    The frozen weights beneath the adapters never change, but class rows may train: with these
    tensors the model before the swap can be restored bit by bit, also from a checkpoint.

    Args:
        tensors (dict[str, Tensor]): Full name in the host, and the tensor.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(_buffer(name), tensor.detach().clone())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by their name in the host."""
        return {name.replace('/', '.'): tensor for name, tensor in self.named_buffers()}

    @staticmethod
    def record(
        state_dict: MutableMapping[str, Tensor], names: Iterable[str], host: str, own: str
    ) -> None:
        """Add the named tensors of a host that is about to be loaded as those of the start.

        ``host`` and ``own`` are the prefixes of the host's keys and of this module's.
        """
        for name in names:
            if host + name in state_dict:
                state_dict[own + _buffer(name)] = state_dict[host + name]


def _buffer(name: str) -> str:
    return name.replace('.', '/')  # torch allows no dots in the name of a buffer


HEAD_POLICIES = ('frozen', 'new_rows', 'all')


def apply_head_policy(host: nn.Module, rows: ClassRows, policy: str) -> dict[str, nn.Parameter]:
    """Make the rows trainable that the policy names.

    ``frozen`` trains none, as the official code does: new classes are learned by moving features
    towards fixed random rows. ``new_rows`` trains the added rows only. ``all`` trains every
    class-indexed parameter.

    Args:
        host (nn.Module): The host, otherwise frozen.
        rows (ClassRows): Its class-indexed tensors.
        policy (str): One of :data:`HEAD_POLICIES`.

    Returns:
        dict[str, nn.Parameter]: What trains of the rows, by the name of their tensor.

    Raises:
        ConfigError: If the policy is unknown, or there are no new rows to train.
    """
    check_choice('model.head.policy', policy, HEAD_POLICIES, 'head policy')
    if policy == 'new_rows' and rows.old == rows.total:
        fix = 'set model.head.old_classes below the number of classes of model.host'
        raise ConfigError('model.head.policy', policy, 'the head has no new rows', fix)
    if policy == 'frozen':
        return {}
    parameters = dict(host.named_parameters())
    done: set[int] = set()
    trained: dict[str, nn.Parameter] = {}
    for tensor in rows.tensors:
        # Heads may share a module; named_parameters lists it once, under its first name.
        parameter = parameters.get(tensor.name)
        if parameter is None or id(parameter) in done:
            continue
        done.add(id(parameter))
        if policy == 'all':
            trained[tensor.name] = parameter.requires_grad_(True)
        else:
            owner_name, _, leaf = tensor.name.rpartition('.')
            owner = host.get_submodule(owner_name)
            NewRows.apply_to(owner, leaf, rows.old, tensor.layout)
            trained[tensor.name] = owner.parametrizations[leaf].original
    return trained
