"""knowswap_mm as training runs it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor

from knowswap_mm.acceleration.compiled_blocks import CompiledBlock
from knowswap_mm.engine import SwapOptimWrapper
from training_steps.loop import Loop
from training_steps.step_task import StepTask


class SwapperLoop(Loop):
    """One step of :class:`KnowledgeSwapper`: preprocessing, losses, backward, optimizer.

    Args:
        task (StepTask): Model, batch, loss.
        precision (str): ``fp32``, ``tf32`` or ``bf16``.
        accelerations (Sequence[str] | None): As ``model.accelerations``.
    """

    def __init__(
        self, task: StepTask, precision: str, accelerations: Sequence[str] | None = None
    ) -> None:
        super().__init__(task, precision)
        config = copy.deepcopy(task.cfg.model)
        config.accelerations = accelerations
        config.head.policy = 'frozen'  # as in the other loops: adapters alone
        torch.manual_seed(0)
        self.model = MODELS.build(config).to(task.device).train()
        self.model.schedule = task.schedule()
        self.host = self.model.host
        if any(isinstance(module, CompiledBlock) for module in self.host.modules()):
            self.compiled = 'blocks'
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        fused = task.device == 'cuda'
        self.wrapper = SwapOptimWrapper(
            optimizer=torch.optim.AdamW(trainable, lr=1e-4, weight_decay=0.05, fused=fused),
            dtype='bfloat16' if precision == 'bf16' else None,
            clip_grad=task.clip_grad,
        )

    def step(self) -> dict[str, Tensor]:
        """What mmengine's training loop does with a batch; returns what it would log."""
        return self.model.train_step(self.task.data(), optim_wrapper=self.wrapper)
