"""What the looks of a phase mean: pure functions of numbers.

All limits are shares of the loss of chance, ln K, and of the standard error of paired differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from knowswap_mm.engine.guard import words
from knowswap_mm.engine.guard.look import Change, Look
from knowswap_mm.engine.guard.options import GuardOptions
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule import Decision, SwapPhase

#: Share of the watched forget samples that must have lost their class.
NEARLY_ALL = 0.95
#: Shares of chance: a mean loss below it is learned; a change below it is none.
LEARNED, STILL = 0.5, 0.01
#: What a mean loss may rise by at the start of a phase, as a share of chance.
EARLY = 1.5
#: Factor on the learning rate of a gentler step, and of an extension.
GENTLER = 0.5
#: A forget phase that begins with this share of its work done goes on at this factor on its rate:
#: of 0.2 and 0.06 times the recipe's rate, on validation images of the grocery swaps, the first
#: harmed what was learned less than the rate as it is, and the second left forget classes behind.
MOSTLY, LITTLE = 0.75, 0.2
#: Share of the bound: a forget phase that has no more to push than this is not needed.
SLACK = 0.05
#: Share of chance: what an aim must have come nearer in the second half of a stretch, if more of
#: the same is to be expected of an extension.
PROGRESS = 0.05


@dataclass(frozen=True)
class Watched:
    """A phase that is watched.

    Attributes:
        phase (SwapPhase): The phase as it stands now.
        length (int): Its length before anything was decided.
        chance (float): Loss of chance, in nats.
        silence (float): Loss from which a class is not answered, in nats.
        decisions (tuple[Decision, ...]): What was decided in the phase so far.
        options (GuardOptions): What the config says.
        beneath (bool): Whether the objective forgets what no loss shows, see :class:`Objective`.
    """

    phase: SwapPhase
    length: int
    chance: float
    silence: float
    decisions: tuple[Decision, ...] = ()
    options: GuardOptions = GuardOptions()
    beneath: bool = False

    @property
    def tolerance(self) -> float:
        """How far the mean loss of what is kept may have risen at the end, in nats."""
        return self.options.tolerance * self.chance

    def tolerated(self, look: Look) -> float:
        """How far it may have risen at a look: far at first, less and less later.

        What is kept gets worse while the learning rate is high, and recovers when it falls: on the
        demo's shapes it is at chance after a twelfth of the learn phase, and ends well.
        """
        done = 1 - min(max(self.phase.end - look.at, 0) / self.length, 1)
        share = self.options.tolerance
        return self.chance * max(share, EARLY - (EARLY - share) * done**2)

    @property
    def target(self) -> float:
        """Loss from which a forget sample has lost its class, in nats."""
        return min(self.silence, self.phase.bound)

    @property
    def kept(self) -> tuple[str, ...]:
        """Roles that must not get worse."""
        return (RETAIN, LEARN) if self.phase.merge_learned and not self.learns else (RETAIN,)

    @property
    def learns(self) -> bool:
        """Whether it is an aim to learn."""
        return self.phase.kind in ('learn', 'joint')

    @property
    def forgets(self) -> bool:
        """Whether it is an aim to forget."""
        return self.phase.kind in ('forget', 'joint')

    @property
    def left(self) -> int:
        """Iterations by which the phase may be extended."""
        given = sum(each.iters for each in self.decisions if each.kind == 'extend')
        return max(int(self.options.extend * self.length) - given, 0)

    @property
    def backs(self) -> int:
        """How often the phase went back because of harm."""
        return sum(d.kind == 'back' and is_harm(d) for d in self.decisions)

    @property
    def is_eased(self) -> bool:
        """Whether the phase began anew because it had little to do."""
        return any(d.kind == 'back' and not is_harm(d) for d in self.decisions)

    def rises(self, before: Look, after: Look) -> dict[str, Change]:
        """How the losses of what is kept changed, by role."""
        return {
            role: Change.of(before.nats[role], after.nats[role])
            for role in self.kept
            if role in before.nats and role in after.nats
        }

    def harmed(self, start: Look, look: Look) -> list[str]:
        """Roles of which more is lost since the start of the phase than is tolerated then."""
        rises, limit = self.rises(start, look).items(), self.tolerated(look)
        return [role for role, rise in rises if rise.exceeds(limit)]

    def is_good(self, start: Look, look: Look) -> bool:
        """Whether a state is one to go back to: what is kept is well within what the end may be."""
        return all(c.mean <= self.tolerance / 2 for c in self.rises(start, look).values())

    def worsening(self, before: Look, after: Look) -> Change:
        """How much worse a state is than another, by all that the phase is about, in nats."""
        parts = list(self.rises(before, after).values())
        if self.learns and LEARN in before.nats and LEARN in after.nats:
            parts.append(Change.of(before.nats[LEARN], after.nats[LEARN]))
        if self.forgets and FORGET in before.nats and FORGET in after.nats:
            forgot = Change.of(before.nats[FORGET], after.nats[FORGET], self.target)
            parts.append(-forgot if np.isfinite(forgot.mean) else Change(0.0, 0.0))
        return Change.total(parts)

    def missing(self, look: Look) -> dict[str, str]:
        """By role what of the aims a state does not reach, in words."""
        found = {}
        if self.learns and LEARN in look.nats and look.mean(LEARN) > LEARNED * self.chance:
            found[LEARN] = words.not_learned(look, self.chance)
        if self.forgets and FORGET in look.nats:
            forgotten, total = self.forgotten(look)
            if forgotten < NEARLY_ALL * total:
                found[FORGET] = words.not_forgotten(forgotten, total, self.target)
        return found

    def forgotten(self, look: Look) -> tuple[int, int]:
        """Of how many watched forget samples the class is lost, and how many there are."""
        values = _forget_nats(look)
        return int((~(values < self.target)).sum()), len(values)

    def has_little_left(self, look: Look) -> bool:
        """Whether a bounded forget phase has little left to do.

        Clipping and the optimizer make steps as long for the gradients of a few samples as for
        those of all, and what is kept pays for it.
        """
        forgotten, total = self.forgotten(look)
        bounded = self.phase.kind == 'forget' and np.isfinite(self.phase.bound)
        return bool(bounded and total and forgotten >= MOSTLY * total)

    def is_done(self, look: Look) -> bool:
        """Whether a forget phase has no more to do.

        The aim is reached, and the hinge hardly pushes; what is kept may only be harmed by more.
        Learning often leaves such a state behind, even before the phase begins.
        """
        values = _forget_nats(look)
        if self.phase.kind != 'forget' or not len(values) or not np.isfinite(values).all():
            return False
        if not np.isfinite(self.phase.bound):  # then it is about more than that answers are lost
            return False
        pushed = np.maximum(self.phase.bound - values, 0.0).mean()
        return not self.missing(look) and bool(pushed <= SLACK * self.phase.bound)

    @property
    def is_opaque(self) -> bool:
        """Whether losses do not tell what the phase has done."""
        return self.beneath and self.forgets

    def has_aim(self, look: Look) -> bool:
        """Whether an aim of the phase is watched."""
        return (self.learns and LEARN in look.nats) or (self.forgets and FORGET in look.nats)


def _forget_nats(look: Look) -> np.ndarray:
    return np.array(list(look.nats.get(FORGET, {}).values()))


def is_harm(decision: Decision) -> bool:
    """Whether a decision follows from harm that was seen."""
    return decision.kind == 'stop' or (decision.kind == 'back' and decision.lr_factor != LITTLE)


def judge(watched: Watched, looks: Sequence[Look], good: Look, best: Look) -> Decision | None:
    """Decide what follows from the looks of a phase.

    Args:
        watched (Watched): The phase.
        looks (Sequence[Look]): From the one at its start to the present one, without those of
            states that were left.
        good (Look): The last of them that is a state to go back to.
        best (Look): The one before the present that was best.

    Returns:
        Decision | None: None if the phase goes on as it is.
    """
    now, phase = looks[-1], watched.phase
    if now.at < phase.end and not watched.decisions:
        if watched.is_done(looks[0]):
            return _spare(watched, looks)
        if watched.has_little_left(looks[0]):
            return _ease(watched, looks)
    if watched.harmed(looks[0], now):
        return _save(watched, looks, good)
    if watched.is_eased and not watched.missing(now):
        reason = words.forgotten_at_last(*watched.forgotten(now))
        return Decision(now.at, phase.index, 'end', reason=reason)
    if now.at == phase.end:
        return _finish(watched, looks, best)
    return _end_early(watched, looks)


def _spare(watched: Watched, looks: Sequence[Look]) -> Decision:
    """End a phase that is not needed at its first look, with the better state."""
    start, now = looks[0], looks[-1]
    to = start.at if watched.worsening(start, now).mean > 0 else None
    reason = words.needless(start, watched.target)
    return Decision(now.at, watched.phase.index, 'end', to=to, reason=reason)


def _ease(watched: Watched, looks: Sequence[Look]) -> Decision:
    """Begin a phase that has little to do anew, at its first look, with a gentler step."""
    start, now = looks[0], looks[-1]
    reason = words.little_left(start, now, *watched.forgotten(start))
    return Decision(now.at, watched.phase.index, 'back', start.at, 0, LITTLE, reason)


def _save(watched: Watched, looks: Sequence[Look], good: Look) -> Decision | None:
    """Go back with a gentler step; if that was done as often as it may be, stop.

    A stop waits for one more look: a state may recover by itself.
    """
    start, before, now = looks[0], looks[-2], looks[-1]
    phase, harmed = watched.phase, watched.harmed(start, now)
    reason = words.harm(watched, start, good, now, harmed)
    base = dict(at=now.at, phase=phase.index, to=good.at)
    if watched.backs < watched.options.steps_back:
        return Decision(kind='back', lr_factor=GENTLER, reason=reason, **base)
    if now.at < phase.end and not watched.harmed(start, before):
        return None
    reason = f'{reason} {words.what_to_change(watched, now)}'
    return Decision(kind='stop', reason=reason, **base)


def _finish(watched: Watched, looks: Sequence[Look], best: Look) -> Decision | None:
    """At the end of a phase: keep the best state, or go on if the aim is not reached."""
    now, phase = looks[-1], watched.phase
    worse = watched.worsening(best, now)
    if worse.exceeds(watched.tolerance / 2) and not watched.is_opaque:
        reason = words.better_before(worse.mean, best)
        return Decision(now.at, phase.index, 'end', to=best.at, reason=reason)
    missing = watched.missing(now)
    iters = min(max(watched.length // 2, 1), watched.left)
    recent = _recent(watched, looks)
    moved = [role for role in missing if _moved(recent, now, role, PROGRESS * watched.chance)]
    if moved and iters:
        reason = words.not_reached([missing[role] for role in moved])
        given = dict(iters=iters, lr_factor=GENTLER, reason=reason)
        return Decision(now.at, phase.index, 'extend', **given)
    return None


def _recent(watched: Watched, looks: Sequence[Look]) -> Look:
    """The last look in the first half of what was trained since the last extension."""
    now = looks[-1].at
    begin = max([d.at for d in watched.decisions if d.kind == 'extend'], default=looks[0].at)
    half = [look for look in looks[:-1] if begin <= look.at <= (begin + now) / 2]
    return half[-1] if half else looks[0]


def _moved(before: Look, now: Look, role: str, least: float) -> bool:
    """Whether training brought a role nearer to its aim, so that more of it may help."""
    change = Change.of(before.nats.get(role, {}), now.nats[role])
    change = change if role == FORGET else -change
    return change.mean > least and change.exceeds(0.0)


def _end_early(watched: Watched, looks: Sequence[Look]) -> Decision | None:
    """End a phase whose aim is reached for two looks and which changes nothing any more.

    A phase that ends while the learning rate is high would end in a state that is less good than
    the one that the rest of its schedule leads to, so this waits until the rate is low.
    """
    now, phase = looks[-1], watched.phase
    if watched.is_opaque:
        return None
    if len(looks) < 4 or not now.settled or phase.end - now.at > watched.length / 2:
        return None
    if not watched.has_aim(now) or set(now.nats) != set(looks[0].nats):
        return None
    if any(watched.missing(look) for look in looks[-2:]):
        return None
    if not watched.is_good(looks[0], now):  # the rest of the phase may bring something back
        return None
    roles = [*watched.kept, *([LEARN] if watched.learns else [])]
    moves = [Change.of(looks[-3].nats.get(r, {}), now.nats[r]) for r in roles if r in now.nats]
    if any(abs(each.mean) > STILL * watched.chance for each in moves):
        return None
    return Decision(now.at, phase.index, 'end', reason=words.reached(watched, looks[-3:]))
