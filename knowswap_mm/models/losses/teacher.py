"""A teacher for objectives that distil: the model as it was when a phase began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.preprocessor import to_device
from knowswap_mm.roles import LEARN
from knowswap_mm.schedule import SwapPhase, SwapSchedule


@dataclass(frozen=True)
class Teacher:
    """A model that is imitated, and what it knows.

    Attributes:
        host (nn.Module): A frozen plain host in evaluation mode, with a row for every class.
        known (int): So many classes, the first ones by label, it was trained on before: the old
            ones, or all of them if an earlier phase had learn data.
        hidden (Tensor): Which of them a forgotten sample must not get, bool ``(known,)``: all but
            learned and retained classes, so also what was forgotten in an earlier swap.
        old (int): Number of old classes.
    """

    host: nn.Module
    known: int
    hidden: Tensor
    old: int

    @torch.no_grad()
    def logits(self, inputs: Tensor, classes: int, objective: nn.Module) -> Tensor:
        """What it says of images ``(N, C, H, W)`` about the classes it knows, ``(N, known)``.

        The number of ``classes`` is that of the head; for errors see :func:`logits_of`.
        """
        return logits_of(self.host, inputs, classes, type(objective).__name__)[:, : self.known]

    def counted(self, role: str, samples: Sequence[Any], device: torch.device) -> Tensor:
        """Which samples of a role it knows, bool ``(N,)``: learned ones only if it learned them."""
        learned = self.known > self.old
        known = [learned or sample.get('source', role) != LEARN for sample in samples]
        return to_device(torch.tensor(known), device, pin=True)


class Taught:
    """Mixin of objectives that imitate the model as it was when a phase began.

    It goes before the class of the objective. :class:`TeacherHook` gives the teacher. It is the
    model of the start of the phase and not the one before the swap, because only that one knows the
    learned classes: a forgotten image may well look like one of them.
    """

    # Neither a module nor a buffer: the hook makes it of what is stored anyway.
    teacher: Teacher | None = None

    def taught(self, phase: SwapPhase) -> bool:
        """Whether a phase needs a teacher."""
        raise NotImplementedError

    def teach(self, teacher: Teacher | None, swapper: nn.Module) -> None:
        """Take the teacher of the phase that begins, or goes on after a resume; None for none."""
        self.teacher = teacher

    def check(self, schedule: SwapSchedule) -> None:
        """Drop the teacher of an earlier training; errors are those of the objective."""
        super().check(schedule)
        self.teacher = None

    def lesson(self) -> Teacher:
        """The teacher.

        Raises:
            ConfigError: If no hook gave one.
        """
        if self.teacher is None:
            hook = 'knowswap_mm.UndoHook or knowswap_mm.TeacherHook'
            problem = f'{type(self).__name__} imitates a teacher, and no hook gives one'
            fix = f"add dict(type='...') with {hook} to custom_hooks, see docs/baselines.md"
            raise ConfigError('custom_hooks', None, problem, fix)
        return self.teacher


def divergence(target: Tensor, student: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean Kullback-Leibler divergence of the student from the target.

    Args:
        target (Tensor): Probabilities, ``(N, K)``; they may be zero.
        student (Tensor): Logarithms of probabilities, ``(N, K)``.
        counted (Tensor | None): Samples that count, bool ``(N,)``; None for all. Zero if none.

    Returns:
        Tensor: The scalar, in nats.
    """
    each = F.kl_div(student, target, reduction='none').sum(1)
    weights = torch.ones_like(each) if counted is None else counted.to(each.dtype)
    return (each * weights).sum() / weights.sum().clamp(min=1)


def logits_of(host: nn.Module, inputs: Tensor, classes: int, objective: str) -> Tensor:
    """Logits of a classifier, ``(N, classes)``, for the objective of this name.

    Raises:
        ConfigError: If the host gives none.
    """
    given, reason = None, ''
    try:
        given = host(inputs, mode='tensor')
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        reason = f' ({error})'
    if isinstance(given, Tensor) and given.dim() == 2 and given.shape[1] == classes:
        return given
    name = type(host).__name__
    problem = f'the mode `tensor` of {name} gives no logits of shape (N, {classes}){reason}'
    fix = 'use this objective with a classifier, or another one with this host'
    raise ConfigError('model.loss.type', objective, problem, fix)
