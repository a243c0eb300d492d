"""What a run decides about its phases while it runs, and what becomes of a phase by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from knowswap_mm.checks import check_choice, check_keys, check_mapping, check_number, check_whole
from knowswap_mm.errors import ConfigError
from knowswap_mm.schedule.phase import Segment, SwapPhase

DECISION_KINDS = ('end', 'extend', 'back', 'stop')
_KEY = 'decision'


@dataclass(frozen=True)
class Decision:
    """A decision about the phase that runs.

    - ``end`` ends the phase here.
    - ``extend`` lengthens it by ``iters``, with a learning rate schedule that starts anew.
    - ``back`` returns to the state after iteration ``to``. What was left of the phase then comes
      now, with a learning rate schedule that starts anew.
    - ``stop`` ends the run here.

    Attributes:
        at (int): Iterations that were done when it fell, counted over the whole run.
        phase (int): Index of the phase.
        kind (str): One of the above.
        to (int | None): Iterations done in the state to go back to, which lies in the same phase;
            ``end`` and ``stop`` may name one, too ("keep the best").
        iters (int): Further iterations of ``extend``.
        lr_factor (float): Factor of ``extend`` and ``back`` on the rate with which the schedule
            before the new one started.
        reason (str): Why, for people.

    Raises:
        ConfigError: If a value cannot be used, or does not belong to the kind.
    """

    at: int
    phase: int
    kind: str
    to: int | None = None
    iters: int = 0
    lr_factor: float = 1.0
    reason: str = ''

    def __post_init__(self) -> None:
        check_whole(f'{_KEY}.at', self.at, 1, 20)
        check_whole(f'{_KEY}.phase', self.phase, 0)
        check_choice(f'{_KEY}.kind', self.kind, DECISION_KINDS, 'kind of decision')
        check_number(f'{_KEY}.lr_factor', self.lr_factor, '> 0', 0.5)
        if not isinstance(self.reason, str):
            raise ConfigError(f'{_KEY}.reason', self.reason, 'no text', 'say why in words')
        if self.to is not None or self.kind == 'back':
            check_whole(f'{_KEY}.to', self.to, 0, 10)
        check_whole(f'{_KEY}.iters', self.iters, int(self.kind == 'extend'), 20)
        for name, value, nothing, kinds in (
            ('to', self.to, None, ('back', 'end', 'stop')),
            ('iters', self.iters, 0, ('extend',)),
            ('lr_factor', self.lr_factor, 1.0, ('extend', 'back')),
        ):
            if value != nothing and self.kind not in kinds:
                problem = f'means nothing where the decision is {self.kind!r}'
                raise ConfigError(f'{_KEY}.{name}', value, problem, 'leave it out')

    def to_dict(self) -> dict[str, Any]:
        """Plain data for checkpoints and the run folder."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Decision:
        """Read what :meth:`to_dict` gave.

        Raises:
            ConfigError: If it is something else.
        """
        check_mapping(_KEY, data, "dict(at=20, phase=0, kind='end')")
        names = [field.name for field in fields(cls)]
        check_keys(_KEY, data, names)
        if missing := [name for name in names[:3] if name not in data]:
            raise ConfigError(_KEY, dict(data), f'{missing[0]!r} is missing', 'give it')
        return cls(**data)

    def describe(self, name: str) -> str:
        """What it does to the phase of that name, in words."""
        rate = '' if self.lr_factor == 1.0 else f' at {self.lr_factor:g} times the rate'
        text = {
            'end': f'{name} ends here',
            'extend': f'{name} goes on for {self.iters} more iterations{rate}',
            'back': f'{name} goes back to iteration {self.to} and on from there{rate}',
            'stop': f'the run stops here, in {name}',
        }[self.kind]
        if self.kind != 'back' and self.to is not None:
            text += f', with the state after iteration {self.to}'
        return f'After iteration {self.at}: {text}' + (f' ({self.reason})' if self.reason else '')


def check_decision(
    decision: Decision, phases: Sequence[SwapPhase], earlier: Sequence[Decision]
) -> SwapPhase:
    """Require that a decision falls within its phase and behind the ``earlier`` ones.

    Returns the phase.

    Raises:
        ConfigError: If it does not.
    """
    if decision.phase >= len(phases):
        fix = f'use 0 to {len(phases) - 1}'
        raise ConfigError(f'{_KEY}.phase', decision.phase, 'there is no such phase', fix)
    phase, done = phases[decision.phase], earlier[-1].at if earlier else 0
    least = max(phase.begin, done) + 1
    if not least <= decision.at <= phase.end:
        problem = f'{phase.name} has iterations {phase.begin} to {phase.end - 1}'
        problem += f', and {done} were done at the decision before' if earlier else ''
        fix = 'decide where an iteration of the phase is done, once for each'
        raise ConfigError(f'{_KEY}.at', decision.at, problem, fix)
    if decision.to is not None and not phase.begin <= decision.to < decision.at:
        fix = f'use {phase.begin} to {decision.at - 1}'
        raise ConfigError(f'{_KEY}.to', decision.to, 'no earlier state of the phase', fix)
    return phase


def decided_phase(
    phase: SwapPhase, decision: Decision, earlier: Sequence[Decision], rate: float
) -> SwapPhase:
    """What becomes of the phase of a decision.

    Args:
        phase (SwapPhase): The phase, as it is after the ``earlier`` decisions.
        decision (Decision): A decision that :func:`check_decision` let pass.
        earlier (Sequence[Decision]): Those before it.
        rate (float): Factor on the base learning rate with which the schedule started that a
            new one comes after.
    """
    at, factor = decision.at, rate * decision.lr_factor
    if decision.kind == 'extend':
        more = Segment(phase.end, decision.iters, factor)
        return replace(
            phase,
            length=phase.length + more.length,
            later_segments=(*phase.later_segments, more),
        )
    kept = tuple(
        replace(each, length=min(each.end, at) - each.begin)
        for each in phase.later_segments
        if each.begin < at
    )
    if decision.kind != 'back':
        return replace(phase, length=at - phase.begin, later_segments=kept)
    backs = [each for each in earlier if each.kind == 'back' and each.phase == phase.index]
    left = _progress(phase.end, backs) - _progress(decision.to, backs)
    rest = Segment(at, left, factor)
    return replace(phase, length=rest.end - phase.begin, later_segments=(*kept, rest))


def _progress(iteration: int, backs: Sequence[Decision]) -> int:
    """Iterations that the state after an iteration has behind it, without those undone since."""
    before = [back for back in backs if back.at <= iteration]
    if not before:
        return iteration
    return _progress(before[-1].to, before[:-1]) + iteration - before[-1].at


def replayed(data: Any) -> tuple[Decision, ...]:
    """Read the decisions of a checkpoint; one of an earlier version has none.

    Raises:
        ConfigError: If it is no list of decisions.
    """
    if data is None:
        return ()
    if not isinstance(data, (list, tuple)) or any(not isinstance(d, Mapping) for d in data):
        raise ConfigError('decisions', data, 'no list of decisions', 'use those of a checkpoint')
    return tuple(map(Decision.from_dict, data))
