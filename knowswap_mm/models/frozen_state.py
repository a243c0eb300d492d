"""The model as it was at one moment, without a second copy of what never changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.compat import own_parameters
from knowswap_mm.models.samples import SampleLosses


class FrozenState:
    """Copies of all that trains; a teacher is the model with them in place (issue 27).

    With adapters these are small: everything else is frozen and the same at any time. Values that
    train are neither read nor written meanwhile, so that a graph that hangs on them stays whole.

    Args:
        tensors (Mapping[str, Tensor]): Values by the name of their parameter in the model.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    @classmethod
    def of(cls, model: nn.Module) -> FrozenState:
        """Copy what trains now."""
        named = model.named_parameters()
        return cls({n: p.detach().clone() for n, p in named if p.requires_grad})

    def to_dict(self) -> dict[str, Tensor]:
        """The values on the CPU, for a checkpoint."""
        return {name: tensor.cpu() for name, tensor in self.tensors.items()}

    @contextmanager
    def in_model(self, model: nn.Module) -> Iterator[None]:
        """Let a model be what it was, in the block and without gradients.

        It is in evaluation mode meanwhile: nothing is dropped, and no norm learns.
        """
        named = dict(model.named_parameters())
        # Those of a checkpoint lie on the CPU at first.
        self.tensors = {n: value.to(named[n].device) for n, value in self.tensors.items()}
        twins = {
            named[name]: nn.Parameter(value, named[name].requires_grad)
            for name, value in self.tensors.items()
        }
        modules = list(model.modules())
        flags = [module.training for module in modules]
        places = [
            (own_parameters(module), name, parameter)
            for module in modules
            for name, parameter in own_parameters(module).items()
            if parameter is not None and parameter in twins
        ]
        # The features that one role's loss of the present model is given are not the teacher's.
        lent = model.host.__dict__.pop('extract_feat', None)
        try:
            for module in modules:
                module.training = False
            for own, name, parameter in places:
                own[name] = twins[parameter]
            with torch.no_grad():
                yield
        finally:
            for own, name, parameter in places:
                own[name] = parameter
            for module, flag in zip(modules, flags, strict=True):
                module.training = flag
            if lent is not None:
                model.host.extract_feat = lent

    def samples(
        self,
        swapper: nn.Module,
        inputs: Mapping[str, Tensor],
        samples: Mapping[str, list[Any]],
        blocks: int = 0,
    ) -> dict[str, SampleLosses]:
        """What the model said of a batch at that moment, by role.

        Args:
            swapper (nn.Module): The :class:`KnowledgeSwapper`.
            inputs (Mapping[str, Tensor]): Preprocessed images by role, ``(N, C, H, W)``.
            samples (Mapping[str, list]): Their samples.
            blocks (int): As for :meth:`RoleModel.sample_losses_by_role`.

        Returns:
            dict[str, SampleLosses]: In the order of the present model's samples; without graph.
        """
        with self.in_model(swapper):
            return swapper.sample_losses_by_role(inputs, samples, blocks)
