"""Puts the accelerations of a config on a host."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.checks import check_arguments, check_mapping, did_you_mean
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import ACCELERATIONS, class_of, type_name


@cache
def mixed_class(mixin: type[nn.Module], kind: type[nn.Module]) -> type[nn.Module]:
    """A class that does what a mixin overrides, and else what a class does.

    A module keeps its tensors, its place and its name when its class becomes a mixed one, and
    remains an instance of its own class. The same arguments give the same class, so that copies
    have the class of the original.
    """
    return type(f'{mixin.__name__}{kind.__name__}', (mixin, kind), dict(__module__=kind.__module__))


def exact_modules(host: nn.Module, *classes: str) -> list[nn.Module]:
    """Find modules of some classes; subclasses, which may do anything, are none.

    Classes are given by full name, e.g. ``mmdet.models.dense_heads.dino_head.DINOHead``, so that
    nothing is imported for hosts that have none.
    """
    return [
        module
        for module in host.modules()
        if f'{type(module).__module__}.{type(module).__qualname__}' in classes
    ]


# Autocast leaves double precision alone.
_CAST = (torch.float32, torch.float16, torch.bfloat16)


def compute_dtype(x: Tensor, weight: Tensor) -> torch.dtype | None:
    """The type in which torch multiplies an input with a weight, both of any shape.

    It is autocast's where that is enabled, else the type that both have; None if they differ.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype in _CAST and weight.dtype in _CAST:
        return torch.get_autocast_dtype(device)
    return x.dtype if x.dtype == weight.dtype else None


class Acceleration:
    """One change that makes a host faster and leaves its numbers as they are, within a tolerance.

    A subclass is one file, registered in ``knowswap_mm.registry.ACCELERATIONS`` and named in
    ``model.accelerations``. As a rule it says what is changed (:meth:`find`) and names a
    :attr:`mixin` that overrides ``forward``; it may write :meth:`apply` instead. It must leave the
    names of parameters and buffers, and what is saved, as they are; a deep copy of an accelerated
    host must work, and so must merging its adapters.
    """

    #: What :meth:`change` mixes into the class of a module.
    mixin: type[nn.Module]

    def apply(self, host: nn.Module) -> int:
        """Change a host in place, after its adapters were injected.

        Returns:
            int: Modules that were changed; 0 if the host has none that it fits.
        """
        found = list(self.find(host))
        for module in found:
            self.change(module)
        return len(found)

    def find(self, host: nn.Module) -> Iterable[nn.Module]:
        """The modules of a host with its adapters that are changed."""
        raise NotImplementedError

    def change(self, module: nn.Module) -> None:
        """Change one of them: its class becomes a mixed one."""
        module.__class__ = mixed_class(self.mixin, type(module))


#: What every swap uses; each has a parity test and pays in the table of ``docs/performance.md``.
DEFAULTS: tuple[str, ...] = (
    'LeanLoRA',
    'PackedAttention',
    'FusedWindowAttention',
    'BatchedDINOLosses',
    'BatchedMask2FormerLosses',
    'ClassTokenOnly',
    'PackedDropout',
)


def accelerate(
    host: nn.Module, accelerations: Sequence[str | Mapping[str, Any]] | None = None
) -> dict[str, int]:
    """Apply accelerations one after the other.

    Args:
        host (nn.Module): The host with its adapters.
        accelerations (Sequence | None): Names or configs, the field ``model.accelerations``; None
            takes :data:`DEFAULTS`, an empty list none.

    Returns:
        dict[str, int]: Modules that each one changed, by name.

    Raises:
        ConfigError: If a name or an argument is unknown.
    """
    chosen = DEFAULTS if accelerations is None else accelerations
    if not isinstance(chosen, (list, tuple)):
        fix = "give a list, e.g. ['LeanLoRA']"
        raise ConfigError('model.accelerations', chosen, 'no list', fix)
    changed = {}
    for entry in chosen:
        if inspect.isclass(entry):
            entry = dict(type=entry)
        if not isinstance(entry, str):
            check_mapping('model.accelerations', entry, "dict(type='knowswap_mm.LeanLoRA')")
        config = dict(type=f'knowswap_mm.{entry}') if isinstance(entry, str) else dict(entry)
        kind = class_of(config.get('type'), ACCELERATIONS)
        if kind is None or not issubclass(kind, Acceleration):
            fix = did_you_mean(type_name(config.get('type')), sorted(ACCELERATIONS.module_dict))
            raise ConfigError('model.accelerations', entry, 'no acceleration', fix)
        check_arguments(f'model.accelerations.{kind.__name__}', config, kind)
        options = {key: value for key, value in config.items() if key != 'type'}
        try:
            built = kind(**options)
        except TypeError as error:
            fix = f'see the arguments of knowswap_mm.acceleration.{kind.__name__}'
            raise ConfigError('model.accelerations', entry, str(error), fix) from None
        changed[kind.__name__] = built.apply(host)
    return changed
