"""Why the guard decided as it did, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from knowswap_mm.engine.guard.look import Change, Look
from knowswap_mm.roles import FORGET, LEARN

if TYPE_CHECKING:
    from knowswap_mm.engine.guard.judge import Watched


def harm(watched: Watched, start: Look, good: Look, now: Look, roles: Sequence[str]) -> str:
    """What got worse, when, and what happened meanwhile."""
    phase, parts = watched.phase, []
    for role in roles:
        rise = _nats(Change.of(start.nats[role], now.nats[role]).mean)
        parts.append(f'{role} rose by {rise}, from {_mean(start, role)} to {_mean(now, role)}')
    text = f'The watched loss of {" and of ".join(parts)} '
    text += f'(tolerated: {watched.tolerated(now):.2f}), '
    text += f'between iterations {good.at} and {now.at} of {phase.name}'
    if watched.forgets and FORGET in now.nats:
        bound = '' if math.isinf(phase.bound) else f'; its bound is {phase.bound:g}'
        text += f', when the forget loss went from {_mean(good, FORGET)} to {_mean(now, FORGET)}'
        text += f' (that of chance is {watched.chance:.2f}{bound})'
    return f'{text}, at a learning rate of {now.rate:.2g} where its schedule starts.'


def what_to_change(watched: Watched, now: Look) -> str:
    """What a user may change after a run that was stopped."""
    phase, ways = watched.phase, []
    twice = 2 * watched.chance
    if watched.forgets and phase.bound > 1.5 * twice:
        given = 'none' if math.isinf(phase.bound) else f'{phase.bound:g}'
        ways.append(
            f'set swap.phases.{phase.index}.bound (now {given}) to about {twice:.1f}, twice the '
            'loss of chance'
        )
    gentler = 0.5**watched.backs
    ways.append(f'set optim_wrapper.optimizer.lr to less than {gentler:g} of its value')
    ways.append('clip gradients: optim_wrapper.clip_grad = dict(max_norm=1.0)')
    tried = ''
    if watched.backs:
        times = 'once' if watched.backs == 1 else f'{watched.backs} times'
        tried = f'It was tried again {times}, down to {gentler:g} of the learning rate. '
    return f'{tried}What to change: {"; or ".join(ways)}.'


def better_before(nats: float, best: Look) -> str:
    """That an earlier state of the phase is kept."""
    return (
        f'The state after iteration {best.at} was better than the one at the end, by {_nats(nats)} '
        'of watched loss.'
    )


def needless(start: Look, target: float) -> str:
    """That a forget phase had nothing to do."""
    values = start.nats[FORGET].values()
    total, lost = len(values), sum(value >= target for value in values)
    return (
        f'Nothing was left to forget: when the phase began, {lost} of {total} watched forget '
        f'samples had lost their class (their mean loss is {_mean(start, FORGET)}).'
    )


def little_left(start: Look, now: Look, lost: int, total: int) -> str:
    """That a forget phase has little to do, and what full steps did."""
    return (
        f'Little was left to forget: when the phase began, {lost} of {total} watched forget '
        f'samples had lost their class. Its first steps took the forget loss from '
        f'{_mean(start, FORGET)} to {_mean(now, FORGET)}, which needs no full steps.'
    )


def forgotten_at_last(lost: int, total: int) -> str:
    """That a phase which had little to do has done it."""
    return f'What was left is forgotten: {lost} of {total} watched forget samples lost their class.'


def not_learned(look: Look, chance: float) -> str:
    """That the learn loss is not low yet."""
    return f'the watched learn loss is {look.mean(LEARN):.2f} (that of chance is {chance:.2f})'


def not_forgotten(forgotten: int, total: int, target: float) -> str:
    """That forget samples still have their class."""
    return f'{forgotten} of {total} watched forget samples have a loss above {target:.2f}'


def not_reached(missing: Sequence[str]) -> str:
    """That an aim is not reached at the end of a phase."""
    return f'The aim of the phase is not reached: {" and ".join(missing)}.'


def reached(watched: Watched, looks: Sequence[Look]) -> str:
    """That the aims are reached and nothing changes any more."""
    now, parts = looks[-1], []
    if watched.forgets and FORGET in now.nats:
        parts.append(
            f'the forget loss is {_mean(now, FORGET)} (that of chance is {watched.chance:.2f})'
        )
    if watched.learns and LEARN in now.nats:
        parts.append(f'the learn loss is {_mean(now, LEARN)}')
    parts.append(f'that of retain is {_mean(now, "retain")}')
    return (
        f'The aim is reached, and the watched losses have hardly changed since iteration '
        f'{looks[0].at}: {", ".join(parts)}.'
    )


def _mean(look: Look, role: str) -> str:
    return f'{look.mean(role):.2f}'


def _nats(value: float) -> str:
    return f'{value:.2f} nats' if math.isfinite(value) else 'more than a number can say'
