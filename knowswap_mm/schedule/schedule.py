"""The schedule of a swap."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from mmengine.logging import print_log

from knowswap_mm.checks import (
    check_choice,
    check_flag,
    check_keys,
    check_mapping,
    check_whole,
)
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import ROLES
from knowswap_mm.schedule.decisions import Decision, check_decision, decided_phase
from knowswap_mm.schedule.parser import PhaseParser, check_phase_keys
from knowswap_mm.schedule.phase import PHASE_KINDS, SwapPhase

ORDERS: dict[str, tuple[str, ...]] = {
    'learn': ('learn',),
    'forget': ('forget',),
    'joint': ('joint',),
    'learn-forget': ('learn', 'forget'),
    'forget-learn': ('forget', 'learn'),
    'learn-forget-learn': ('learn', 'forget', 'learn'),
    'forget-learn-forget': ('forget', 'learn', 'forget'),
}


def phases_of_order(
    order: str | list[str], defaults: dict[str, Any], partial: bool = False
) -> list[dict[str, Any]]:
    """Spell out an order as a list of phase configs.

    A forget phase that comes after a learn phase has the learned data in its retain set, as in the
    paper's learn-before-forget strategy; ``merge_learned`` in ``defaults`` overrides that.

    Args:
        order (str | list[str]): A name of :data:`ORDERS`, kinds joined by ``-``, or a list of
            kinds.
        defaults (dict): Phase settings by kind, e.g. ``dict(learn=dict(epochs=5))``.
        partial (bool): Whether kinds without settings are allowed, because a recipe has them.

    Returns:
        list[dict]: One config a phase.

    Raises:
        ConfigError: If a kind is unknown, or a kind of the order has no settings.
    """
    if not isinstance(order, (str, list, tuple)):
        fix = f'use one of {sorted(ORDERS)} or a list of {list(PHASE_KINDS)}'
        raise ConfigError('swap.order', order, 'neither a name nor a list', fix)
    check_mapping('swap.phase_settings', defaults, 'dict(learn=dict(epochs=5))')
    kinds = order.split('-') if isinstance(order, str) else list(order)
    phases = []
    for position, kind in enumerate(kinds):
        if not isinstance(kind, str) or kind not in PHASE_KINDS:
            fix = f'use one of {sorted(ORDERS)} or any list of {list(PHASE_KINDS)}'
            raise ConfigError('swap.order', order, f'{kind!r} is no kind of phase', fix)
        if kind not in defaults and not partial:
            problem = f'the order {order!r} has a {kind!r} phase but no settings for it'
            fix = f'add swap.phase_settings.{kind} = dict(epochs=...) or write swap.phases'
            raise ConfigError('swap.phase_settings', sorted(defaults), problem, fix)
        settings = defaults.get(kind, {})
        check_mapping(f'swap.phase_settings.{kind}', settings, 'dict(epochs=5)')
        settings = dict(settings)
        learned_before = any(earlier in ('learn', 'joint') for earlier in kinds[:position])
        settings.setdefault('merge_learned', kind == 'forget' and learned_before)
        phases.append(dict(settings, kind=kind))
    for kind in defaults:
        if kind not in kinds:
            text = f'swap.phase_settings.{kind} is not used: the order {order!r} has no such phase.'
            print_log(text, logger='current', level=logging.WARNING)
    return phases


def changed_phases(
    phases: list[dict[str, Any]], changes: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Change single phases of an order, as ``--cfg-options swap.phases.1.bound=20`` says.

    The changes are by the position of the phase.

    Raises:
        ConfigError: If the order has no such phase, or the change is not a dict.
    """
    changed = list(phases)
    for position, change in changes.items():
        key = f'swap.phases.{position}'
        if int(position) >= len(phases):
            fix = f'use 0 to {len(phases) - 1}'
            raise ConfigError(key, change, f'the order has {len(phases)} phases', fix)
        check_mapping(key, change, 'dict(bound=20)')
        phase = changed[int(position)]
        changed[int(position)] = phase | {
            name: {**phase[name], **value}
            if isinstance(value, Mapping) and isinstance(phase.get(name), Mapping)
            else value
            for name, value in change.items()
        }
    return changed


_KEYS = (
    'phases', 'order', 'phase_settings', 'recipe', 'classes', 'allow_random_host', 'nonfinite',
    'untrained', 'guard', 'holdout',
)  # fmt: skip
#: What a config says of a number that the recipe chooses, and the only ``swap.recipe``.
AUTO = 'auto'


def phase_configs(swap: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The config of each phase, with an order spelled out and changes by position made.

    Args:
        swap (Mapping): As for :meth:`SwapSchedule.from_config`. With ``recipe='auto'`` a kind of
            the order needs no settings.

    Raises:
        ConfigError: If it does not say which phases there are.
    """
    phases, order = swap.get('phases'), swap.get('order')
    changes = phases if order is not None and isinstance(phases, Mapping) else {}
    phases = None if changes else phases
    if (phases is None) == (order is None):
        fix = "write swap.phases, or swap.order = 'learn-forget' with swap.phase_settings"
        raise ConfigError('swap', sorted(swap), 'needs exactly one of phases and order', fix)
    if phases is None:
        settings = swap.get('phase_settings', {})
        phases = phases_of_order(order, settings, partial=swap.get('recipe') == AUTO)
        phases = changed_phases(phases, changes)
    elif settings := swap.get('phase_settings'):
        problem = 'swap.phases says all of each phase, so it would do nothing'
        fix = 'change swap.phases.0.epochs, ..., and set swap.phase_settings = None'
        raise ConfigError('swap.phase_settings', settings, problem, fix)
    if isinstance(phases, dict):
        # `--cfg-options swap.phases.0.iters=5` may leave a dict with the positions as keys.
        phases = [phases[key] for key in sorted(phases, key=int)]
    if not isinstance(phases, (list, tuple)) or not phases:
        raise ConfigError('swap.phases', phases, 'no phase', 'list at least one phase')
    return list(phases)


class RateSpan(NamedTuple):
    """The iterations under one learning rate schedule.

    Attributes:
        phase (SwapPhase): The phase whose schedulers and epochs it has.
        begin (int): First iteration, counted over the whole run.
        length (int): Number of iterations.
        lr_factor (float): Factor on the base learning rate with which it starts.
    """

    phase: SwapPhase
    begin: int
    length: int
    lr_factor: float


@dataclass(frozen=True)
class SwapSchedule:
    """An immutable list of phases; sampler, loss, hook, logs and resume all ask it.

    What a run decides while it runs makes a new schedule (:meth:`decide`), so that each answer is a
    function of the iteration and the decisions on record.

    Attributes:
        phases (tuple[SwapPhase, ...]): The phases in order, without gaps.
        role_sizes (dict[str, int]): Samples per role, over all processes.
        world_size (int): Number of processes the lengths were resolved for.
        decisions (tuple[Decision, ...]): What was decided so far, in order.
        planned (tuple[SwapPhase, ...]): The phases without the decisions, if there are any.
    """

    phases: tuple[SwapPhase, ...]
    role_sizes: dict[str, int]
    world_size: int = 1
    decisions: tuple[Decision, ...] = ()
    planned: tuple[SwapPhase, ...] = ()

    @classmethod
    def from_config(
        cls, swap: dict[str, Any], role_sizes: dict[str, int], batch_size: int, world_size: int = 1
    ) -> SwapSchedule:
        """Resolve the ``swap`` field of a config.

        Args:
            swap (dict): Holds ``phases`` (a list of phase configs), or ``order`` together with
                ``phase_settings`` (settings by kind). With an ``order``, ``phases`` may be a dict
                of changes by position.
            role_sizes (dict[str, int]): Samples per role.
            batch_size (int): Batch size of one process.
            world_size (int): Number of processes.

        Returns:
            SwapSchedule: The resolved schedule.

        Raises:
            ConfigError: If a value cannot be used.
        """
        check_swap_keys(swap)
        check_flag('swap.allow_random_host', swap.get('allow_random_host', False))
        check_whole('train_dataloader.batch_size', batch_size, 1, 160)
        sizes = {role: int(role_sizes.get(role, 0)) for role in ROLES}
        parser = PhaseParser(sizes, batch_size, world_size)
        resolved: list[SwapPhase] = []
        for index, config in enumerate(phase_configs(swap)):
            begin = resolved[-1].end if resolved else 0
            resolved.append(parser.parse(index, begin, config))
        return cls(tuple(resolved), sizes, world_size)

    @property
    def total(self) -> int:
        """Iterations of the whole run."""
        return self.phases[-1].end

    @property
    def batch_size(self) -> int:
        """Batch size of one process."""
        return self.phases[0].batch_size // self.world_size

    def phase_at(self, iteration: int) -> SwapPhase:
        """Phase of an iteration (from 0); the last phase from the end of the run on."""
        begins = [phase.begin for phase in self.phases]
        return self.phases[max(bisect_right(begins, iteration) - 1, 0)]

    def lr_span(self, iteration: int) -> RateSpan:
        """The learning rate schedule that an iteration is under.

        A phase with ``restart_lr=False`` continues the schedule of the one before.
        """
        found: list[tuple[SwapPhase, int, float]] = []
        owner = self.phases[0]
        for phase in self.phases:
            begins = list(phase.segments)
            if phase.index > 0 and not phase.restart_lr:
                del begins[0]
            else:
                owner = phase
            found += [(owner, each.begin, each.lr_factor) for each in begins]
        last = max(sum(begin <= iteration for _, begin, _ in found) - 1, 0)
        owner, begin, factor = found[last]
        end = found[last + 1][1] if last + 1 < len(found) else self.total
        return RateSpan(owner, begin, end - begin, factor)

    @property
    def base(self) -> SwapSchedule:
        """The schedule as the config has it, without decisions."""
        return (
            replace(self, phases=self.planned, decisions=(), planned=()) if self.planned else self
        )

    def decide(self, decision: Decision) -> SwapSchedule:
        """The schedule after a further decision; what it says of earlier iterations is the same.

        Raises:
            ConfigError: If the decision does not fall inside its phase, or not behind the others.
        """
        phase = check_decision(decision, self.phases, self.decisions)
        last = decision.at if decision.kind == 'back' else phase.end
        rate = self.lr_span(last - 1).lr_factor
        changed = decided_phase(phase, decision, self.decisions, rate)
        phases = [*self.phases[: phase.index], changed]
        for later in self.phases[phase.index + 1 :] if decision.kind != 'stop' else ():
            phases.append(replace(later, begin=phases[-1].end))
        made = (*self.decisions, decision)
        return replace(self, phases=tuple(phases), decisions=made, planned=self.base.phases)

    def as_of(self, iteration: int) -> SwapSchedule:
        """The schedule as it was known when an iteration began: later decisions are left out."""
        known = self.base
        for decision in self.decisions:
            known = known.decide(decision) if decision.at <= iteration else known
        return known

    def uneven(self) -> str | None:
        """What must be said if a role cannot be shared evenly among the processes; else None."""
        for phase in self.phases:
            for role, count in phase.split.items():
                if count % self.world_size:
                    most = -(-count // self.world_size)
                    return (
                        f'{phase.name}: {count} {role} samples are shared among '
                        f'{self.world_size} processes, {most} or {most - 1} each. Every process '
                        'takes the mean over its own, so that samples count up to '
                        f'{most / (most - 1):.2f} times as much as others. Fix: a '
                        'train_dataloader.batch_size or a split of which each process gets the '
                        'same.'
                    )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the run folder and for comparing a resumed run with the stored one.

        With decisions, it has ``decisions``, ``planned`` (the phases of :attr:`base`: ``index``,
        ``kind``, ``begin``, ``length``), and ``segments`` in phases that have several.
        """
        found = dict(
            phases=[asdict(phase) for phase in self.phases],
            role_sizes=self.role_sizes,
            world_size=self.world_size,
            total_batch=self.phases[0].batch_size,
        )
        for phase, plain in zip(self.phases, found['phases'], strict=True):
            if plain.pop('later_segments'):
                plain['segments'] = [asdict(segment) for segment in phase.segments]
            if math.isinf(phase.bound):
                plain['bound'] = None
        if self.decisions:
            keys = ('index', 'kind', 'begin', 'length')
            found['decisions'] = [decision.to_dict() for decision in self.decisions]
            found['planned'] = [{key: getattr(p, key) for key in keys} for p in self.planned]
        return _plain(found)

    def describe(self) -> str:
        """One line a phase, and one for each of its later segments, for the log."""
        lines, shared = [], f' of {self.world_size} processes' if self.world_size > 1 else ''
        for phase in self.phases:
            split = ' + '.join(f'{n} {role}' for role, n in phase.split.items() if n)
            weights = ', '.join(f'{k} {v:g}' for k, v in phase.weights.items() if v)
            bound = '' if math.isinf(phase.bound) else f', bound {phase.bound:g}'
            merged = ', retain includes learned data' if phase.merge_learned else ''
            lines.append(
                f'{phase.name}: iterations {phase.begin} to {phase.end - 1} ({phase.length}), '
                f'batch {split}{shared}, weights {weights}{bound}{merged}'
            )
            lines += [
                f'  learning rate anew from iteration {each.begin} ({each.length})'
                for each in phase.later_segments
            ]
        return '\n'.join(lines)


def check_swap_keys(swap: Any) -> None:
    """Require that every key under ``swap`` is known, whether its phase comes to run or not.

    Raises:
        ConfigError: Names the first unknown key and the nearest known one.
    """
    check_mapping('swap', swap, "dict(order='learn-forget', ...)")
    check_keys('swap', swap, _KEYS)
    if swap.get('recipe') is not None:
        check_choice('swap.recipe', swap['recipe'], (AUTO,), 'recipe')
    settings, phases = swap.get('phase_settings'), swap.get('phases')
    if isinstance(settings, Mapping):
        check_keys('swap.phase_settings', settings, PHASE_KINDS, 'unknown kind of phase')
        for kind, each in settings.items():
            check_phase_keys(f'swap.phase_settings.{kind}', each, named=False)
    if not isinstance(phases, (Mapping, list, tuple)):
        return
    listed = phases.items() if isinstance(phases, Mapping) else enumerate(phases)
    for position, each in listed:
        if not str(position).isdecimal():
            fix = 'use its position: 0 is the first phase'
            raise ConfigError(f'swap.phases.{position}', each, 'no position of a phase', fix)
        check_phase_keys(f'swap.phases.{position}', each)


def _plain(value: Any) -> Any:
    """Dicts and lists only: a checkpoint that holds a ``ConfigDict`` is refused when it is read."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
