"""Hooks that keep the model of the start of a phase, for objectives that imitate it."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from knowswap_mm.checks import check_number
from knowswap_mm.compat import goes_on
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.engine.hooks.guard import GuardHook
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.models import merged_host
from knowswap_mm.models.losses.teacher import Taught, Teacher
from knowswap_mm.models.losses.undo import UndoLoss, shrink_and_perturb
from knowswap_mm.registry import HOOKS
from knowswap_mm.roles import LEARN, RETAIN
from knowswap_mm.schedule import SwapPhase

_KEY = 'teacher'


@HOOKS.register_module()
class TeacherHook(Hook):
    """Gives an objective the model as it was when a phase began, for the phases that it names.

    Checkpoints of such a phase hold what trains as it was at its start, so that a resumed run has
    the same teacher: little beside adapters, the whole model again where all weights train.
    """

    #: Behind PhaseHook, which ends the phase before; ahead of the hook that saves checkpoints.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._phase: int | None = None
        self._kept: dict[str, Tensor] = {}

    def before_train(self, runner: Any) -> None:
        """Refuse an objective that has no use for a teacher.

        Raises:
            ConfigError: Says which ones have.
        """
        objective = runner.swapper.swapping_loss
        if not isinstance(objective, Taught):
            name, hook = type(objective).__name__, type(self).__name__
            fix = "e.g. dict(type='knowswap_mm.DecoupledDistillationLoss'), or drop the hook"
            raise ConfigError('model.loss.type', name, f'it needs no {hook}', fix)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Make the teacher where a phase begins; that of a resumed run of what it kept.

        Raises:
            CheckpointError: If a run is resumed inside a phase and the checkpoint has no teacher.
            ConfigError: If no class is retained or learned, so that nothing could be answered.
        """
        swapper, phase = runner.swapper, runner.swap_schedule.phase_at(runner.iter)
        objective = swapper.swapping_loss
        if not objective.taught(phase):
            self._phase, self._kept = None, {}
            objective.teach(None, swapper)
        elif runner.iter == phase.begin:
            self._phase = phase.index
            self._kept = {name: t.detach().clone() for name, t in _moving(swapper).items()}
            objective.teach(self._teacher(runner, phase), swapper)
            self.after_lesson(runner, phase)
        elif self._phase != phase.index:
            raise CheckpointError(
                f'The checkpoint holds no teacher of {phase.name}. Fix: resume from the '
                f'checkpoint at the start of the phase, or from one of a run with '
                f'{type(self).__name__}.'
            )
        elif objective.teacher is None:
            objective.teach(self._teacher(runner, phase), swapper)

    def after_lesson(self, runner: Any, phase: SwapPhase) -> None:
        """Change the model once its copy is the teacher; nothing here."""

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put what was kept into the checkpoint."""
        if self._phase is not None:
            weights = {name: tensor.cpu() for name, tensor in self._kept.items()}
            checkpoint[_KEY] = dict(phase=self._phase, weights=weights)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take over what the run that is resumed kept."""
        if goes_on(runner) and _KEY in checkpoint:
            self._phase, self._kept = checkpoint[_KEY]['phase'], dict(checkpoint[_KEY]['weights'])

    @torch.no_grad()
    def _teacher(self, runner: Any, phase: SwapPhase) -> Teacher:
        classes = runner.train_dataloader.dataset.classes
        before = runner.swap_schedule.phases[: phase.index]
        names = classes.names if any(LEARN in each.roles for each in before) else classes.old
        answers = {*classes.of(LEARN), *classes.of(RETAIN)}
        hidden = [name not in answers for name in names]
        if all(hidden):
            fix = 'list classes to retain'
            problem = 'no class is left that a forgotten sample could be taken for'
            raise ConfigError('swap.classes.retain', classes.of(RETAIN), problem, fix)
        moving = _moving(runner.swapper)
        present = {name: tensor.clone() for name, tensor in moving.items()}
        _put(moving, self._kept)
        host = merged_host(runner.swapper)
        _put(moving, present)
        device = next(host.parameters()).device
        return Teacher(
            host, len(names), torch.tensor(hidden, device=device), runner.swapper.class_rows.old
        )


@HOOKS.register_module()
class UndoHook(TeacherHook):
    r"""Damages the weights at the start of each phase that :class:`UndoLoss` repairs.

    .. math:: \theta \leftarrow (1 - \alpha) \, \theta + \alpha \beta N

    over all weights with two dimensions or more, with noise :math:`N` of Xavier's initialisation
    (:func:`~knowswap_mm.models.losses.undo.shrink_and_perturb`). The model before that is the
    teacher. All weights must train (:class:`FullTrainingSwapper`): what is forgotten lies in the
    frozen weights beneath an adapter, and to shrink the adapter brings it back.

    Args:
        share (float): :math:`\alpha`, 0 for no damage and 1 for weights that are all noise.
        noise (float): :math:`\beta`.

    Raises:
        ConfigError: If a number cannot be used.
    """

    def __init__(self, share: float = 0.5, noise: float = 0.1) -> None:
        super().__init__()
        check_number('custom_hooks.UndoHook.share', share, 'in (0, 1]', 0.5)
        check_number('custom_hooks.UndoHook.noise', noise, '>= 0', 0.1)
        self.share, self.noise = share, noise

    def before_train(self, runner: Any) -> None:
        """Refuse what would work against the damage.

        Raises:
            ConfigError: If the objective is another one, adapters train, or a guard watches.
        """
        objective, swapper = runner.swapper.swapping_loss, runner.swapper
        if not isinstance(objective, UndoLoss):
            fix = "set model.loss = dict(type='knowswap_mm.UndoLoss') or drop UndoHook"
            problem = 'UndoHook damages weights that UndoLoss repairs'
            raise ConfigError('model.loss.type', type(objective).__name__, problem, fix)
        if swapper.adapters:
            fix = "set model.type = 'knowswap_mm.FullTrainingSwapper' and model.lora = None"
            problem = 'what is forgotten lies beneath the adapters, where UndoHook does not reach'
            raise ConfigError('model.type', type(swapper).__name__, problem, fix)
        if any(isinstance(hook, GuardHook) for hook in runner.hooks):
            problem = 'the guard would take back what UndoHook damages'
            raise ConfigError('swap.guard', True, problem, 'set swap.guard = False')

    def after_lesson(self, runner: Any, phase: SwapPhase) -> None:
        """Damage the weights, alike in all processes."""
        weights = {n: p for n, p in runner.swapper.host.named_parameters() if p.requires_grad}
        seed = derive_seed('undo', runner.seed, phase.index)
        shrink_and_perturb(weights, self.share, self.noise, seed)
        runner.logger.info(
            f'The weights were damaged before {phase.name}: shrunk by {self.share:g}, with '
            f'{self.share * self.noise:g} of the noise of an initialisation'
        )


def _moving(swapper: nn.Module) -> dict[str, Tensor]:
    """What a run changes of the host: what trains, and statistics."""
    host = swapper.host
    trained = {name: p for name, p in host.named_parameters() if p.requires_grad}
    return trained | dict(host.named_buffers())


def _put(into: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(values[name])
