"""Checks the config of one phase and resolves it into a :class:`SwapPhase`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from knowswap_mm.checks import (
    check_choice,
    check_flag,
    check_keys,
    check_mapping,
    check_number,
    check_whole,
)
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.schedule.phase import PHASE_KINDS, SwapPhase

_KEYS = (
    'kind', 'iters', 'epochs', 'epoch_role', 'split', 'weights', 'bound', 'merge_learned',
    'merged_share', 'restart_lr', 'restart_optimizer', 'lr_factor', 'param_scheduler',
)  # fmt: skip
#: The ``bound`` of a forget phase whose objective has none; to leave it out is an error.
UNBOUNDED = 'none'
_WEIGHTS = ('learn', 'retain', 'forget', 'sparsity')


def check_phase_keys(where: str, config: Any, named: bool = True) -> None:
    """Require that every key of a phase is known; what is no dict is refused elsewhere.

    Not ``named``: ``kind`` does not belong to it, as in ``swap.phase_settings``.

    Raises:
        ConfigError: Names the first unknown key and the nearest known one.
    """
    if not isinstance(config, Mapping):
        return
    check_keys(where, config, _KEYS if named else _KEYS[1:])
    for name, known in (('weights', _WEIGHTS), ('split', ROLES)):
        if isinstance(config.get(name), Mapping):
            check_keys(f'{where}.{name}', config[name], known)


class PhaseParser:
    """Reads phase configs one after the other.

    Args:
        role_sizes (dict[str, int]): Number of samples per role, over all processes.
        batch_size (int): Batch size of one process; the same in every phase. The shares of the
            roles are those of the batch of all processes together, so that they do not depend on
            the number of processes.
        world_size (int): Number of processes.
    """

    def __init__(self, role_sizes: dict[str, int], batch_size: int, world_size: int) -> None:
        self.role_sizes = role_sizes
        self.batch_size = batch_size
        self.world_size = world_size
        self.total_batch = batch_size * world_size

    def parse(self, index: int, begin: int, config: dict[str, Any]) -> SwapPhase:
        """Resolve the phase at a position, which begins with an iteration.

        Raises:
            ConfigError: If a key is unknown or a value cannot be used.
        """
        where = f'swap.phases.{index}'
        check_mapping(where, config, "dict(kind='learn', epochs=5)")
        check_phase_keys(where, config)
        kind = config.get('kind')
        check_choice(f'{where}.kind', kind, PHASE_KINDS, 'kind of phase')
        flags = dict(merge_learned=False, restart_lr=True, restart_optimizer=False)
        for name, default in flags.items():
            flags[name] = config.get(name, default)
            check_flag(f'{where}.{name}', flags[name])
        factor = config.get('lr_factor', 1.0)
        check_number(f'{where}.lr_factor', factor, '> 0', 'e.g. 1.0')
        split = self.split(f'{where}.split', kind, config.get('split'))
        merge = flags['merge_learned']
        self._check_roles(where, kind, split, merge)
        share = self._share(f'{where}.merged_share', config.get('merged_share'), split)
        length, epoch_length = self._length(where, config, split, merge)
        schedulers = config.get('param_scheduler')
        if schedulers is not None:
            key, example = f'{where}.param_scheduler', "dict(type='CosineAnnealingLR', ...)"
            schedulers = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
            for each in schedulers:
                check_mapping(key, each, example)
            schedulers = tuple(map(dict, schedulers))
        return SwapPhase(
            index=index,
            kind=kind,
            begin=begin,
            length=length,
            epoch_length=epoch_length,
            split=split,
            weights=self._weights(f'{where}.weights', kind, config.get('weights', {})),
            bound=self._bound(f'{where}.bound', config.get('bound', math.inf), kind),
            merged_share=share,
            lr_factor=float(factor),
            param_scheduler=schedulers,
            **flags,
        )

    def split(self, key: str, kind: str, split: dict[str, int] | None) -> dict[str, int]:
        """Samples by role in a batch of all processes; None shares it equally.

        Raises:
            ConfigError: Names the ``key`` if the split cannot be used.
        """
        roles = PHASE_KINDS[kind]
        if split is None:
            share, rest = divmod(self.total_batch, len(roles))
            split = {role: share for role in roles}
            split[RETAIN] += rest
        check_mapping(key, split, 'dict(learn=80, retain=80)')
        if unknown := [role for role in split if role not in roles]:
            fix = f'a {kind} phase draws from {list(roles)}'
            raise ConfigError(key, dict(split), f'role {unknown[0]!r} does not belong here', fix)
        counts = {role: split.get(role, 0) for role in ROLES}
        for role, count in counts.items():
            check_whole(f'{key}.{role}', count, 0, 80)
        for role in roles:
            if role != RETAIN and counts[role] == 0:
                fix = (
                    f'give {role!r} at least one sample a batch: raise train_dataloader.batch_size'
                )
                problem = f'a {kind} phase without its primary role {role!r}'
                raise ConfigError(key, dict(split), problem, fix)
        if sum(counts.values()) == self.batch_size:  # of each process
            counts = {role: count * self.world_size for role, count in counts.items()}
        if sum(counts.values()) != self.total_batch:
            total = f', {self.total_batch} with all processes' if self.world_size > 1 else ''
            size = f'train_dataloader.batch_size is {self.batch_size}{total}'
            problem = f'the split sums to {sum(counts.values())}, but {size}'
            fix = 'make the split sum to the batch size, which is the same in every phase'
            raise ConfigError(key, dict(split), problem, fix)
        for role, count in counts.items():
            if 0 < count < self.world_size:
                fix = 'raise train_dataloader.batch_size, or take fewer processes'
                problem = (
                    f'{count} {role} samples in a batch of {self.total_batch} are too few for '
                    f'{self.world_size} processes, each of which needs one'
                )
                raise ConfigError(key, dict(split), problem, fix)
        return counts

    def _check_roles(self, where: str, kind: str, split: dict[str, int], merge: bool) -> None:
        for role, count in split.items():
            if count and not self.role_sizes.get(role):
                fix = f'add data for it under train_dataloader.dataset.roles.{role}'
                raise ConfigError(f'{where}.kind', kind, f'the role {role!r} has no samples', fix)
        if merge and not self.role_sizes.get(LEARN):
            fix = 'set it to False or add learn data'
            raise ConfigError(f'{where}.merge_learned', merge, 'there is no learn data', fix)

    def _length(
        self, where: str, config: dict[str, Any], split: dict[str, int], merge: bool
    ) -> tuple[int, int | None]:
        iters, epochs = config.get('iters'), config.get('epochs')
        role = config.get('epoch_role', RETAIN)
        fix = f'use a role of the batch: {[r for r in ROLES if split[r]]}'
        not_counted = ConfigError(
            f'{where}.epoch_role', role, 'epochs cannot be counted in it', fix
        )
        if role not in ROLES or ('epoch_role' in config and not split[role]):
            raise not_counted
        if (iters is None) == (epochs is None):
            fix = 'give exactly one of iters and epochs'
            given = dict(iters=iters, epochs=epochs)
            raise ConfigError(where, given, 'the length of the phase is not clear', fix)
        key, value = ('iters', iters) if epochs is None else ('epochs', epochs)
        check_whole(f'{where}.{key}', value, 1, 5)
        if epochs is None:
            return iters, None
        if not split[role]:
            raise not_counted
        size = self.role_sizes[role]
        if role == RETAIN and merge:
            size += self.role_sizes[LEARN]
        epoch_length = math.ceil(size / split[role])
        return epochs * epoch_length, epoch_length

    def _weights(self, key: str, kind: str, given: dict[str, float]) -> dict[str, float]:
        check_mapping(key, given, 'dict(learn=1.0, retain=0.2)')
        check_keys(key, given, _WEIGHTS)
        weights = {name: 0.0 if name == 'sparsity' else 1.0 for name in _WEIGHTS} | dict(given)
        for name, value in weights.items():
            check_number(f'{key}.{name}', value, '>= 0', 1.0)
        used = set(PHASE_KINDS[kind]) | {'sparsity'}
        return {name: float(value) if name in used else 0.0 for name, value in weights.items()}

    @staticmethod
    def _bound(key: str, value: float | str, kind: str) -> float:
        needed = FORGET in PHASE_KINDS[kind]
        if value == UNBOUNDED or (value == math.inf and not needed):
            return math.inf
        fix = f'a {kind} phase needs none'
        if needed:
            fix = 'set it above the forget loss of the start, e.g. 105 for a classifier'
        check_number(key, value, '> 0', fix)
        return float(value)

    @staticmethod
    def _share(key: str, value: float | None, split: dict[str, int]) -> float | None:
        if value is None:
            return None
        check_number(key, value, 'in [0, 1)', 'e.g. 0.3, or None')
        if value and not round(value * split[RETAIN]):
            fix = f'use at least {1 / split[RETAIN]:.3f}, or 0 for none' if split[RETAIN] else '0'
            problem = f'of {split[RETAIN]} retain samples a batch that is none'
            raise ConfigError(key, value, problem, fix)
        return value
