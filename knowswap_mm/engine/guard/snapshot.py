"""States that a phase may go back to: what trains, and the optimizer's memory of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from knowswap_mm.compat import BatchNorm


class Snapshot:
    """A copy, on the CPU, of what training changes.

    That is every parameter that requires a gradient, the statistics of norms that learn, the state
    of the optimizer, and the same tensors of averages of the model (``EMAHook``), which would
    otherwise go on from a state that was left.

    Args:
        models (Sequence[dict[str, Tensor]]): Tensors by name of the model, then of its averages.
        optimizer (dict): State by number of the parameter.
    """

    def __init__(self, models: Sequence[dict[str, Tensor]], optimizer: dict[int, Any]) -> None:
        self.models, self.optimizer = list(models), optimizer

    @classmethod
    def of(cls, model: nn.Module, optimizer: Optimizer, averages: Sequence[nn.Module]) -> Snapshot:
        """Copy a state.

        Args:
            model (nn.Module): The model that trains.
            optimizer (Optimizer): Its optimizer.
            averages (Sequence[nn.Module]): Averages of it, with their count in ``steps``.
        """
        names = trained_names(model)
        models = [_copied(model, names), *(_copied(each, names) for each in averages)]
        return cls(models, _on_cpu(optimizer.state_dict()['state']))

    def restore(
        self, model: nn.Module, optimizer: Optimizer, averages: Sequence[nn.Module]
    ) -> None:
        """Put the state back, in place; learning rates stay as they are."""
        with torch.no_grad():
            for target, saved in zip([model, *averages], self.models, strict=False):
                tensors = _tensors(target)
                for name, value in saved.items():
                    tensors[name].copy_(value)
        groups = optimizer.state_dict()['param_groups']
        optimizer.load_state_dict(dict(state=copy.deepcopy(self.optimizer), param_groups=groups))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return dict(models=self.models, optimizer=self.optimizer)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Snapshot:
        """Read what :meth:`to_dict` gave."""
        return cls([dict(each) for each in data['models']], dict(data['optimizer']))


def trained_names(model: nn.Module) -> list[str]:
    """Names of the parameters that train, and of the buffers of norms that learn."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for owner, module in model.named_modules():
        if isinstance(module, BatchNorm) and module.training:
            names += [f'{owner}.{name}' for name, _ in module.named_buffers(recurse=False)]
    return names


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors by name; those of an average by the names of what it follows."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name.removeprefix('module.'): tensor for name, tensor in own.items()}


def _copied(model: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    tensors = _tensors(model)
    wanted = [name for name in (*names, 'steps') if name in tensors]
    return {name: _on_cpu(tensors[name]) for name in wanted}


def _on_cpu(value: Any) -> Any:
    """A copy of nested dicts and lists, with tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to('cpu', copy=True)
    if isinstance(value, Mapping):
        return {key: _on_cpu(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_on_cpu(each) for each in value]
    return value
