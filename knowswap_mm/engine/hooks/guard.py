"""The hook that looks at watched samples and decides."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from torch.nn import Module

from knowswap_mm.compat import goes_on, window_of
from knowswap_mm.console import DETAIL
from knowswap_mm.datasets.holdout import LEAST
from knowswap_mm.engine.guard.judge import Watched, is_harm, judge
from knowswap_mm.engine.guard.look import Look
from knowswap_mm.engine.guard.options import GuardOptions
from knowswap_mm.engine.guard.plan import LookPlan, plan_looks
from knowswap_mm.engine.guard.snapshot import Snapshot
from knowswap_mm.engine.guard.watch import HeldOut, WatchError
from knowswap_mm.engine.optim import window_is_open
from knowswap_mm.engine.saved_weights import averages_of
from knowswap_mm.registry import HOOKS
from knowswap_mm.roles import RETAIN
from knowswap_mm.schedule import Decision, SwapPhase

#: A learning rate below this share of that with which its schedule began is low.
_LOW_RATE = 0.1


@HOOKS.register_module()
class GuardHook(Hook):
    """Looks at some training samples at fixed checkpoints of a phase, and decides (issue 26).

    - When retain got worse than the tolerance, the phase goes back to its last good state with half
      the learning rate; if that was done as often as it may be, the run stops there.
    - A phase ends early when its aim is reached and nothing changes any more.
    - At its end a phase goes back to an earlier state that was clearly better, or goes on if its
      aim is not reached.

    :class:`SwapRunner` adds it to every swap, with the options in ``swap.guard``.

    Args:
        looks (int): Looks in a phase, beside the one at its start; fewer in short phases.
        tolerance (float): How far the mean watched retain loss may have risen at the end of a
            phase, as a share of the loss of chance; more is tolerated before.
        steps_back (int): How often a phase may go back to its last good state.
        extend (float): By how much of its length a phase may be extended in all.

    Raises:
        ConfigError: If a value cannot be used.
    """

    #: After all that changes weights and learning rates, before the checkpoint of the iteration.
    priority = 80

    def __init__(
        self,
        looks: int = 8,
        tolerance: float = 0.15,
        steps_back: int = 2,
        extend: float = 1.0,
    ) -> None:
        self.options = GuardOptions(looks, tolerance, steps_back, extend)
        self._held: HeldOut | None = None
        self._plan: LookPlan | None = None
        self._phase: int | None = None
        self._looks: list[Look] = []
        self._states: dict[int, Snapshot] = {}
        self._good: Look | None = None
        self._best: Look | None = None

    def before_train(self, runner: Any) -> None:
        """Say what is watched, or why nothing is."""
        self._held = HeldOut(runner.train_dataloader, runner.swap_schedule.batch_size)
        sizes = self._held.dataset.watched_sizes
        off = said = why_off(runner.swapper.samples, sizes)
        if off is None:
            plans = [self._plan_of(runner, phase) for phase in runner.swap_schedule.base.phases]
            pairs = zip(runner.swap_schedule.phases, plans, strict=True)
            parts = [f'{phase.name} {_described(plan)}' for phase, plan in pairs]
            said = f'The guard watches samples: {"; ".join(parts)}.'
        runner.logger.info(said, extra=None if off else DETAIL)
        phase = runner.swap_schedule.phase_at(runner.iter)
        if phase.begin < runner.iter < phase.end:  # resumed
            self._plan = self._plan_of(runner, phase)
            if self._plan is None or self._phase != phase.index:
                self._forget()
                if off is None:
                    runner.logger.info(f'{phase.name} is not watched: nobody saw its start.')

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Look at the start of a phase."""
        phase = runner.swap_schedule.phase_at(runner.iter)
        if runner.iter == phase.begin:
            self._forget()
            self._plan = self._plan_of(runner, phase)
            look = None if self._plan is None else self._look(runner, phase, runner.iter)
            if look is not None and len(look.nats.get(RETAIN, ())) >= LEAST:
                self._phase, self._good, self._best = phase.index, look, look
                self._looks = [look]
                self._keep(runner)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look where it is time, and decide."""
        done, phase = runner.iter + 1, runner.swap_schedule.phase_at(runner.iter)
        if self._phase != phase.index or not self._plan.is_due(phase, done):
            return
        if window_is_open(runner.optim_wrapper):
            return
        look = self._look(runner, phase, done)
        if look is None:
            return
        self._looks.append(look)
        watched = self._watched(runner, phase)
        decision = judge(watched, self._looks, self._good, self._best)
        if decision is None or decision.kind == 'extend':
            if watched.is_good(self._looks[0], look):
                self._good = look
                if watched.worsening(self._best, look).mean < 0:
                    self._best = look
            self._keep(runner)
        if decision is None:
            self._warn_of_missing(runner, watched, look)
        runner.decide(decision)
        if done == runner.swap_schedule.phases[phase.index].end:
            self._forget()

    def after_decision(self, runner: Any, decision: Decision) -> None:
        """Put back the state that a decision names."""
        state = self._states.get(decision.to)
        if state is None or decision.phase != self._phase:
            return
        if is_harm(decision):
            runner.logger.warning(decision.reason)
        state.restore(runner.swapper, runner.optim_wrapper.optimizer, _averages(runner))
        self._looks = [look for look in self._looks if look.at <= decision.to]
        # A state after the one that is taken up again is none of this phase any more.
        self._best = self._looks[-1] if self._best.at > decision.to else self._best

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put what a resumed run must know into the checkpoint."""
        if self._phase is None or not isinstance(checkpoint.get('swap'), dict):
            return
        checkpoint['swap']['guard'] = dict(
            phase=self._phase,
            looks=[look.to_dict() for look in self._looks],
            good=self._good.at,
            best=self._best.at,
            states={at: state.to_dict() for at, state in self._states.items()},
        )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take over what the run that is resumed knew."""
        stored = checkpoint.get('swap', {}).get('guard') if goes_on(runner) else None
        if not stored:
            return
        self._phase = int(stored['phase'])
        self._looks = [Look.from_dict(each) for each in stored['looks']]
        by_state = {look.at: look for look in self._looks}
        self._good, self._best = by_state[stored['good']], by_state[stored['best']]
        self._states = {at: Snapshot.from_dict(each) for at, each in stored['states'].items()}

    def _plan_of(self, runner: Any, phase: SwapPhase) -> LookPlan | None:
        if runner.swapper.samples is None:
            return None
        base = runner.swap_schedule.base.phases[phase.index]
        sizes, window = self._held.dataset.watched_sizes, window_of(runner.optim_wrapper)
        return plan_looks(base, sizes, self.options.looks, window)

    def _watched(self, runner: Any, phase: SwapPhase) -> Watched:
        schedule = runner.swap_schedule
        decisions = tuple(d for d in schedule.decisions if d.phase == phase.index)
        length, reader = schedule.base.phases[phase.index].length, runner.swapper.samples
        beneath = runner.swapper.swapping_loss.beneath
        return Watched(
            phase, length, reader.chance, reader.silence, decisions, self.options, beneath
        )

    def _look(self, runner: Any, phase: SwapPhase, done: int) -> Look | None:
        """Look at the present state; if that fails, the phase is not watched any more."""
        try:
            nats = self._held.measure(runner, self._plan.samples(phase, done))
        except WatchError as error:
            runner.logger.warning(f'The guard does not watch {phase.name} any more: {error}')
            self._forget()
            return None
        group = runner.optim_wrapper.optimizer.param_groups[0]
        first = group.get('initial_lr', group['lr'])
        settled = not runner.param_schedulers or group['lr'] <= _LOW_RATE * first
        look = Look(done, first, settled, nats)
        means = ', '.join(f'{role} {look.mean(role):.3f}' for role in nats)
        runner.logger.info(f'Watched losses after iteration {done}: {means}', extra=DETAIL)
        return look

    def _keep(self, runner: Any) -> None:
        """Keep the states that the phase may go back to, and no others."""
        now = self._looks[-1].at
        wanted = {self._good.at, self._best.at}
        self._states = {at: state for at, state in self._states.items() if at in wanted}
        if now in wanted and now not in self._states:
            optimizer = runner.optim_wrapper.optimizer
            self._states[now] = Snapshot.of(runner.swapper, optimizer, _averages(runner))

    def _forget(self) -> None:
        self._phase, self._looks, self._states = None, [], {}
        self._good = self._best = None

    @staticmethod
    def _warn_of_missing(runner: Any, watched: Watched, look: Look) -> None:
        if look.at == watched.phase.end and (missing := watched.missing(look)):
            told = ' and '.join(missing.values())
            runner.logger.warning(f'{watched.phase.name} ends without its aim: {told}.')


def why_off(reader: Any, sizes: dict[str, int]) -> str | None:
    """Why nothing can be watched, in a line for the log; None if it can.

    Args:
        reader (SampleReader | None): What reads samples off the host.
        sizes (dict[str, int]): Watched samples by role.
    """
    if reader is None:
        return 'The guard is off: no sample reader knows this kind of host.'
    if not sizes.get(RETAIN):
        return (
            'The guard is off: there are fewer than 4 retain samples to watch, or the run began '
            'without a guard and goes on so.'
        )
    return None


def _described(plan: LookPlan | None) -> str:
    if plan is None:
        return 'is too short for it'
    counts = ', '.join(f'{n} {role}' for role, n in plan.ends.items())
    return f'every {plan.every} iterations ({counts})'


def _averages(runner: Any) -> list[Module]:
    return averages_of(runner.hooks)
