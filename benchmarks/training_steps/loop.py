"""What every training loop of the benchmark has in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from knowswap_mm.acceleration.dropouts import HashedDropoutModule, PackedDropoutModule
from training_steps.step_task import StepTask

PRECISIONS = ('fp32', 'tf32', 'bf16')


class Loop(metaclass=ABCMeta):
    """A model with its optimizer; :meth:`step` is one training step.

    Args:
        task (StepTask): Model, batch, loss.
        precision (str): ``fp32``, ``tf32`` or ``bf16`` (autocast).
    """

    #: What is compiled, or the mode of the compiler.
    compiled: str = '-'
    host: nn.Module

    def __init__(self, task: StepTask, precision: str) -> None:
        self.task, self.precision = task, precision

    def dropout(self) -> str:
        """Rates of dropout and of stochastic depth in the host, and how dropout draws."""
        modules = list(self.host.modules())
        dropouts = [m for m in modules if isinstance(m, nn.Dropout) and m.p]
        paths = [float(m.drop_prob) for m in modules if getattr(m, 'drop_prob', None)]
        found = [f'{rate:g}' for rate in sorted({m.p for m in dropouts})]
        for kind, name in ((HashedDropoutModule, 'hashed'), (PackedDropoutModule, 'packed')):
            found += [f'({name})'] if any(isinstance(m, kind) for m in dropouts) else []
        found += [f'paths to {max(paths):g}'] if paths else []
        return ' '.join(found) or '-'

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
