"""The same by hand, with torch and peft."""

from __future__ import annotations

import copy
import re

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters
from training_steps.loop import Loop
from training_steps.step_task import StepTask


class PlainLoop(Loop):
    """Host, peft, two forwards (or one), the hinge and the group term, without any framework.

    Args:
        task (StepTask): Model, batch, loss.
        precision (str): ``fp32``, ``tf32`` or ``bf16``.
        fused (bool): One forward over both roles, where the task has it by hand.
    """

    def __init__(self, task: StepTask, precision: str, fused: bool = False) -> None:
        super().__init__(task, precision)
        self.fused = fused
        torch.manual_seed(0)
        self.host = self.build().requires_grad_(False)
        LoRAInjector(**task.cfg.model.get('lora', {})).inject(self.host)
        self.host.to(task.device).train()
        for module in self.host.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        adapters = adapter_parameters(self.host)
        self.groups: dict[str, list[Tensor]] = {}
        for name, parameter in adapters.items():
            parameter.requires_grad_(True)
            self.groups.setdefault(re.split(r'\.(?:ffn|mlp)\.', name)[0], []).append(parameter)
        self.parameters = list(adapters.values())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, weight_decay=0.05)
        self.logits = getattr(task, 'logits', None)
        self.norms = group_norms

    def build(self) -> nn.Module:
        """Build the model, without adapters."""
        host = MODELS.build(copy.deepcopy(self.task.cfg.model.host))
        host.init_weights()  # as the swapper does, so that the losses are of its size
        return host

    def losses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of the forget part, of the retain part, and the group term."""
        batch = self.task.batch
        spans = [slice(0, batch), slice(batch, 2 * batch)]
        forget, retain = self.task.host_losses(self.host, spans, self.fused, self.logits)
        return forget, retain, self.norms(list(self.groups.values()))

    def total(self) -> tuple[Tensor, ...]:
        """The loss of a forget phase, and what it is made of."""
        weights = self.task.weights
        with self.autocast():
            forget, retain, sparsity = self.losses()
            hinge = torch.relu(self.task.bound - forget)
            loss = weights['retain'] * retain + weights['forget'] * hinge
            loss = loss + weights['sparsity'] * sparsity
        return loss, forget, retain, sparsity

    def step(self) -> None:
        """Forward, backward, optimizer."""
        loss, forget, retain, sparsity = self.total()
        self.optimizer.zero_grad()
        loss.backward()
        if self.task.clip_grad:
            nn.utils.clip_grad_norm_(self.parameters, **self.task.clip_grad)
        self.optimizer.step()
        self.report(loss, forget, retain, sparsity)

    def report(self, *values: Tensor) -> None:
        """What is done with the values of a step: nothing."""


def group_norms(groups: list[list[Tensor]]) -> Tensor:
    """Sum of the norms of groups of parameters."""
    return sum(torch.sqrt(sum(p.pow(2).sum() for p in group)) for group in groups)
