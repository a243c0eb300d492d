"""One set of weights: what a checkpoint holds is what is measured, written and handed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseAveragedModel
from torch import Tensor, nn

from knowswap_mm.compat import version_of
from knowswap_mm.lora.manifest import hash_tensors

#: What is known of a state dict before hooks see it: the tensors and their version counters.
Marks = dict[str, tuple[Tensor, int]]


def marks_of(state: Mapping[str, Any]) -> Marks:
    """Remember the tensors of a state dict, so that :func:`replaced` finds what hooks changed."""
    return {k: (v, version_of(v)) for k, v in state.items() if isinstance(v, Tensor)}


def replaced(state: Mapping[str, Any], marks: Marks) -> dict[str, Tensor]:
    """The tensors that hooks gave other values than when :func:`marks_of` saw them."""
    found = {}
    for key, (before, version) in marks.items():
        now = state.get(key)
        if not isinstance(now, Tensor):
            continue
        touched = now is before and version_of(now) != version
        if touched or (now is not before and not _same(now, before)):
            found[key] = now
    return found


def _same(left: Tensor, right: Tensor) -> bool:
    alike = left.dtype == right.dtype and left.shape == right.shape
    return alike and torch.equal(left, right.to(left.device))


class SavedWeights:
    """The weights in a checkpoint, which hooks may have put in the place of those that train.

    A moving average (``EMAHook``) is saved and evaluated, while training goes on with the weights
    that it follows. Whatever describes the model to others (adapter, history, audit) must be made
    of what was saved.

    Args:
        swapper (nn.Module): The model.
        changed (Mapping[str, Tensor]): Tensors by key of its state dict that differ from it.
    """

    def __init__(self, swapper: nn.Module, changed: Mapping[str, Tensor] | None = None) -> None:
        self.swapper = swapper
        self.changed = {k: v.detach().cpu().clone() for k, v in (changed or {}).items()}

    def put(self) -> None:
        """Put them into the model for good."""
        if self.changed:
            self.swapper.load_state_dict(self.swapper.state_dict() | self.changed)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Put them into the model for the length of a block."""
        if not self.changed:
            yield
            return
        kept = [(t, t.detach().clone()) for t in _tensors(self.swapper)]
        try:
            self.put()
            yield
        finally:
            with torch.no_grad():
                for tensor, value in kept:
                    if not torch.equal(tensor, value):
                        tensor.copy_(value)

    def fingerprint(self) -> str:
        """Hash of the model with them."""
        with self.in_model():
            return fingerprint(self.swapper)


def fingerprint(swapper: nn.Module) -> str:
    """Hash of all weights that a model has now."""
    return hash_tensors(swapper.state_dict())


def follow_from_the_start(hooks: list[Any], model: nn.Module) -> None:
    """Let averages of a model that have not begun yet be the model itself.

    A hook copies the model when the run begins, before weights are loaded, and fills the copy
    through a state dict, which may not reach every parameter. Such a copy must not be evaluated.
    """
    for average in averages_of(hooks):
        if int(average.steps):
            continue
        copies, own = _tensors(average.module), _tensors(model)
        if [t.shape for t in copies] != [t.shape for t in own]:  # of something else
            continue
        with torch.no_grad():
            for copy, tensor in zip(copies, own, strict=True):
                copy.copy_(tensor)


def averages_of(hooks: list[Any]) -> list[BaseAveragedModel]:
    """The averages of a model that hooks keep."""
    kept = [average for hook in hooks for average in vars(hook).values()]
    return [average for average in kept if isinstance(average, BaseAveragedModel)]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
