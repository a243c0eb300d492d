"""What every training loop of the benchmark has in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch

from training_steps.step_task import StepTask

PRECISIONS = ('fp32', 'tf32', 'bf16')


class Loop(metaclass=ABCMeta):
    """A model with its optimizer; :meth:`step` is one training step.

    Args:
        task (StepTask): Model, batch, loss.
        precision (str): ``fp32``, ``tf32`` or ``bf16`` (autocast).
    """

    def __init__(self, task: StepTask, precision: str) -> None:
        self.task, self.precision = task, precision

    @abstractmethod
    def step(self) -> object:
        """One step: forward, backward, optimizer."""

    def autocast(self) -> AbstractContextManager:
        """The precision of forward passes."""
        if self.precision != 'bf16':
            return nullcontext()
        return torch.autocast(torch.device(self.task.device).type, torch.bfloat16)


def use_precision(precision: str) -> None:
    """Set torch's switches for products in fp32.

    Args:
        precision (str): One of :data:`PRECISIONS`; autocast is each loop's own. What autocast
            leaves in fp32 is done as torch does it by default: convolutions in TF32.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == 'tf32'
    torch.backends.cudnn.allow_tf32 = precision != 'fp32'
