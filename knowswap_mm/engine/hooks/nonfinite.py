"""What happens when a loss is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from torch import Tensor
from torch.optim import Optimizer

from knowswap_mm.checks import check_choice, check_keys, check_whole
from knowswap_mm.engine.log import numbers_of
from knowswap_mm.errors import ConfigError, PhaseError
from knowswap_mm.io.files import write_json
from knowswap_mm.registry import HOOKS
from knowswap_mm.runs.files import nonfinite_file

ACTIONS = ('stop', 'skip')
_KEY = 'swap.nonfinite'
#: What scipy's assignment says of costs that are no numbers; detectors match before any loss.
_MATCHER = ('invalid numeric entries', 'matrix is infeasible')
_FIX = (
    'Fix: lower optim_wrapper.optimizer.lr, clip gradients (optim_wrapper.clip_grad), lower the '
    'weight forget of the phase, or look at the samples.'
)


#: The term beside those of the host whose value says whether the step was good.
GRADIENT_NORM = 'gradient_norm'


@dataclass
class TrainingStep:
    """The numbers of a step, which may lie on the device still.

    Attributes:
        iteration (int): Iteration of the run, from 0.
        terms (dict[str, Tensor | float]): What the model and the optimizer gave to be logged.
        rates (list[float]): Learning rates of the step.
    """

    iteration: int
    terms: dict[str, Tensor | float]
    rates: list[float]

    def nonfinite(self) -> list[str]:
        """Names of the losses that are no numbers, once :func:`fetch` was there.

        Metrics are no losses: an accuracy of nothing may be undefined.
        """
        return [
            name
            for name, value in self.terms.items()
            if ('loss' in name or name.endswith('/raw') or name == GRADIENT_NORM)
            and not math.isfinite(value)
        ]


@torch.no_grad()
def fetch(steps: Sequence[TrainingStep]) -> None:
    """Turn the terms of all steps, in place, into numbers, in one copy a device and dtype."""
    places = [(s.terms, n, v) for s in steps for n, v in s.terms.items() if isinstance(v, Tensor)]
    values = [v.reshape(1) if v.numel() == 1 else v.float().mean()[None] for *_, v in places]
    for (terms, name, _), (number,) in zip(places, numbers_of(values), strict=True):
        terms[name] = number


@HOOKS.register_module()
class NonfiniteHook(Hook):
    """Stops a run whose losses are not finite, or skips such steps.

    The losses stay on the device; every ``interval`` iterations, and before the runner saves, all
    processes look at them together and agree which steps were bad on which rank. A process that
    saw one writes ``nonfinite_iter_<iteration>_rank<rank>.json``: its samples by role, phase, all
    terms, learning rates. Then all of them stop, so none waits for another, and no checkpoint with
    weights that are not finite is ever written.

    With ``skip`` the optimizer does not see such a step: weights and moments stay as they were, on
    all ranks. This costs a look at the gradients, and a wait for the device, in every iteration;
    with a fused optimizer (``optim_wrapper.optimizer.fused = True``) the device decides, and
    nothing waits. A gradient that is not finite counts as a loss does, unless a loss scale takes
    care of it (float16). After ``limit`` bad steps in a row the run stops.

    :class:`SwapRunner` adds it to every swap, with the settings in ``swap.nonfinite``.

    Args:
        action (str): ``stop`` or ``skip``.
        limit (int): So many bad steps in a row stop a run that skips.
        interval (int): Iterations between two looks.

    Raises:
        ConfigError: If a value cannot be used.
    """

    priority = 'HIGH'

    def __init__(self, action: str = 'stop', limit: int = 10, interval: int = 50) -> None:
        check_choice(f'{_KEY}.action', action, ACTIONS, 'action')
        for name, value in (('limit', limit), ('interval', interval)):
            check_whole(f'{_KEY}.{name}', value, 1, 10)
        self.action, self.limit, self.interval = action, limit, interval
        self._steps: list[TrainingStep] = []
        self._row = 0
        self._norm: Tensor | None = None
        self._skipped = False
        self._own_flag = False
        self._handles: list[Any] = []

    def before_train(self, runner: Any) -> None:
        """Watch the optimizer, if it is to skip steps."""
        if self.action == 'skip':
            runner.swapper.spread_nonfinite = True
            optimizer = runner.optim_wrapper.optimizer
            self._handles = [
                optimizer.register_step_pre_hook(self._before_step),
                optimizer.register_step_post_hook(self._after_step),
            ]

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Remember the step, and look when it is time.

        Raises:
            PhaseError: If the run must stop.
        """
        terms = {
            name: value.detach() if isinstance(value, Tensor) else float(value)
            for name, value in (outputs or {}).items()
        }
        if self._norm is not None and not hasattr(runner.optim_wrapper, 'loss_scaler'):
            terms[GRADIENT_NORM] = self._norm
        self._steps.append(self._step(runner, terms))
        skipped, self._norm, self._skipped = self._skipped, None, False
        if skipped or (runner.iter + 1) % self.interval == 0:
            self.look(runner)

    def after_train(self, runner: Any) -> None:
        """Watch no more."""
        for handle in self._handles:
            handle.remove()
        self._handles, runner.swapper.spread_nonfinite = [], False

    def look(self, runner: Any) -> None:
        """Look at all steps since the last time; all processes must do so together.

        Raises:
            PhaseError: If the run must stop.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return
        fetch(steps)
        bad = [[bool(step.nonfinite())] for step in steps]
        if get_world_size() > 1:
            shared = torch.zeros(len(steps), get_world_size(), dtype=torch.int32)
            shared[:, get_rank()] = torch.tensor(bad)[:, 0]
            shared = shared.to(get_device())
            all_reduce(shared, op='max')
            bad = shared.tolist()
        for step, ranks in zip(steps, bad, strict=True):
            if not any(ranks):
                self._row = 0
                continue
            self._row += 1
            here = [rank for rank, is_bad in enumerate(ranks) if is_bad]
            problem = self._report(runner, step, here)
            if self.action == 'stop':
                raise PhaseError(f'{problem} {_FIX}')
            runner.logger.warning(f'{problem} The step was skipped.')
            if self._row >= self.limit:
                raise PhaseError(
                    f'{problem} That is step {self._row} of this kind in a row, and {_KEY}.limit '
                    f'is {self.limit}. {_FIX}'
                )

    @staticmethod
    def check_weights(runner: Any) -> None:
        """Refuse weights that are not finite; this waits for the device.

        Raises:
            PhaseError: If a weight that trains is not finite.
        """
        trained = [(n, p) for n, p in runner.swapper.named_parameters() if p.requires_grad]
        if not trained:
            return
        finite = torch.stack([torch.isfinite(p.detach()).all() for _, p in trained]).tolist()
        if not all(finite):
            name = trained[finite.index(False)][0]
            raise PhaseError(
                f'{name} is not finite. Nothing was saved, the last checkpoint is as it was. {_FIX}'
            )

    def explain(self, runner: Any, error: Exception) -> None:
        """Say so if a host failed because of what happened before.

        Raises:
            PhaseError: If a step since the last look, or a weight, was not finite, or the error is
                that of a matcher about costs that are not.
        """
        steps, self._steps = self._steps, []
        problem = None
        try:
            fetch(steps)
            first = next((step for step in steps if step.nonfinite()), None)
            if first is None and any(words in str(error) for words in _MATCHER):
                first = self._step(runner, {})
            if first is not None:
                problem = f'{self._report(runner, first, [get_rank()])} {_FIX}'
            else:
                self.check_weights(runner)
        except PhaseError as found:
            problem = str(found)
        except RuntimeError:  # the device itself has failed, and answers nothing
            return
        if problem is not None:
            raise PhaseError(f'{problem} The host had failed on it: {error}') from error

    @staticmethod
    def _step(runner: Any, terms: dict[str, Any]) -> TrainingStep:
        rates = sorted({group['lr'] for group in runner.optim_wrapper.param_groups})
        return TrainingStep(runner.iter, terms, rates)

    def _report(self, runner: Any, step: TrainingStep, ranks: list[int]) -> str:
        """Write what is known of a bad step, if it was bad here; gives the message for people."""
        phase, rank = runner.swap_schedule.phase_at(step.iteration), get_rank()
        where = f'Iteration {step.iteration} in {phase.name}'
        path = Path(runner.work_dir) / nonfinite_file(step.iteration, ranks[0])
        who = 'rank ' + ', '.join(map(str, ranks))
        if rank not in ranks:
            return f'{where}: the loss is not finite on {who}; see {path}.'
        path = path.with_name(nonfinite_file(step.iteration, rank))
        content = dict(
            iteration=step.iteration,
            phase=phase.name,
            rank=rank,
            ranks=ranks,
            nonfinite=step.nonfinite(),
            terms={name: _as_json(value) for name, value in step.terms.items()},
            learning_rates=step.rates,
            samples=_samples(runner, step.iteration),
        )
        write_json(path, content)
        shown = {name: step.terms[name] for name in step.nonfinite()}
        return f'{where}: the loss is not finite on {who}: {shown}; see {path}.'

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        if not (parameters := [p for p in parameters if p.grad is not None]):
            return
        # Without a limit this changes nothing; it has the kernels that compute a norm at once.
        self._norm = torch.nn.utils.clip_grad_norm_(parameters, torch.inf)
        if optimizer.defaults.get('fused'):
            # What a loss scaler tells a fused optimizer: the kernel leaves everything as it is.
            bad = (~torch.isfinite(self._norm)).float()
            scaler = getattr(optimizer, 'found_inf', None)
            optimizer.found_inf = bad if scaler is None else torch.maximum(bad, scaler)
            self._own_flag = scaler is None
        elif not bool(torch.isfinite(self._norm)):
            self._skipped = True
            for parameter in parameters:
                parameter.grad = None  # an optimizer passes over such a parameter

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._own_flag:
            del optimizer.found_inf
            self._own_flag = False


def nonfinite_settings(given: Any) -> dict[str, Any]:
    """Read ``swap.nonfinite``: None, an action, or a dict of the hook's arguments.

    Raises:
        ConfigError: If it is something else.
    """
    if given is None or isinstance(given, str):
        return {} if given is None else dict(action=given)
    if not isinstance(given, dict):
        fix = "e.g. 'skip', or dict(action='skip', limit=10, interval=50)"
        raise ConfigError(_KEY, given, 'neither an action nor a dict', fix)
    check_keys(_KEY, given, ('action', 'limit', 'interval'))
    return dict(given)


def _samples(runner: Any, iteration: int) -> list[dict[str, Any]]:
    """The samples that this process had in an iteration; the sampler knows without a memory."""
    loader, samples = runner.train_dataloader, []
    for address in loader.sampler.batch(iteration):
        record = loader.dataset.views[address.source].data_info(address.index)
        path = record.get('img_path')
        samples.append(address._asdict() | dict(img_path=None if path is None else str(path)))
    return samples


def _as_json(value: float) -> float | str:
    """Json has no infinity."""
    return value if math.isfinite(value) else str(value)
