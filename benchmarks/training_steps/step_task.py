"""What a benchmark of training steps trains."""

from __future__ import annotations

import copy
import importlib
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from knowswap_mm.models.fused_features import FusedFeatures
from knowswap_mm.schedule import SwapSchedule

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Size:
    """A preset: a config, height and width of its images, images a role, changes of the config."""

    config: str
    picture: tuple[int, int]
    batch: int
    options: dict[str, Any] = field(default_factory=dict)


class StepTask(metaclass=ABCMeta):
    """A task with one forget step: a model, a batch that is ready on the device, a host's loss.

    Args:
        preset (str): Key of :attr:`sizes`.
        batch (int | None): Images a role; the preset's by default.
        device (str): Where everything lies.
        options (dict | None): Changes of the config, with dots.
        roles (tuple[str, ...]): Roles of a batch.
    """

    scope: ClassVar[str]
    sizes: ClassVar[dict[str, Size]]
    weights: ClassVar[dict[str, float]] = dict(retain=1.0, forget=0.2, sparsity=0.01)
    bound: ClassVar[float] = 1000.0  # never reached: all loops compute everything in every step
    clip_grad: ClassVar[dict[str, float] | None] = None

    def __init__(
        self,
        preset: str,
        batch: int | None,
        device: str,
        options: dict[str, Any] | None = None,
        roles: tuple[str, ...] = ('forget', 'retain'),
    ) -> None:
        size = self.sizes[preset]
        self.picture, self.batch, self.device = size.picture, batch or size.batch, device
        init_default_scope(self.scope)
        self.cfg = Config.fromfile(ROOT / 'configs' / size.config)
        self.cfg.merge_from_dict({**size.options, **(options or {})})
        self.roles = roles
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(
            0,
            256,
            (len(roles) * self.batch, 3, *self.picture),
            dtype=torch.uint8,
            generator=generator,
        )
        self._pictures = pictures.to(device)
        self._samples = [
            self.sample(generator, dict(role=role, phase=0))
            for role in roles
            for _ in range(self.batch)
        ]

    @abstractmethod
    def sample(self, generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
        """One sample of the host, on the device."""

    def data(self, span: slice = slice(None)) -> dict[str, Any]:
        """The batch as the data loader gives it, forget before retain; a new one each time."""
        samples = [copy.copy(sample) for sample in self._samples[span]]
        return dict(inputs=list(self._pictures[span]), data_samples=samples)

    def schedule(self) -> SwapSchedule:
        """A schedule of one phase with these roles."""
        kinds = {('forget', 'retain'): 'forget', ('learn', 'retain'): 'learn'}
        phase = dict(kind=kinds.get(self.roles, 'joint'), iters=1, weights=dict(self.weights))
        if 'forget' in self.roles:
            phase['bound'] = self.bound
        else:
            del phase['weights']['forget']
        sizes = dict.fromkeys(self.roles, self.batch)
        total = len(self.roles) * self.batch
        return SwapSchedule.from_config(
            dict(phases=[dict(phase, split=dict.fromkeys(self.roles, self.batch))]), sizes, total
        )

    def host_losses(
        self,
        host: nn.Module,
        spans: list[slice],
        fused: bool,
        logits: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """The host's scalar loss of each part of the batch, by the host's own means.

        Args:
            host (nn.Module): The host.
            spans (list[slice]): The parts.
            fused (bool): Whether they share one pass; otherwise each has its own.
            logits (Callable | None): For tasks with a method of this name: it, or what was made
                of it.
        """
        if fused:
            raise NotImplementedError(f'{type(self).__name__} has no joint pass by hand.')
        losses = []
        for span in spans:
            ready = host.data_preprocessor(self.data(span), True)
            features = FusedFeatures('never', self.cfg.model.get('fp32_losses', False))
            maps = features.extract(host, dict(part=ready['inputs']))
            if maps is None:
                terms = host.loss(ready['inputs'], ready['data_samples'])
            else:
                with features.given(host, maps['part']):
                    terms = host.loss(ready['inputs'], ready['data_samples'])
            losses.append(host.parse_losses(terms)[0])
        return losses


def task_class(name: str) -> type[StepTask]:
    """The task of a name; its file is imported only now, with the host library that it needs."""
    return getattr(importlib.import_module(f'training_steps.{name}'), name.capitalize())
