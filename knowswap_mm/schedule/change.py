"""Whether a run may go on under another schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.schedule.schedule import SwapSchedule


class ScheduleChange:
    """The schedule that a checkpoint was written under, against that of the run that goes on.

    Iterations, draws and epochs are counted in total batches (those of all processes together), so
    a run may go on with another number of processes if each of them gets its share of the same
    total batch: ``train_dataloader.batch_size`` times processes stays what it was, and so does the
    split of every phase. Everything else must be as it was.

    Args:
        filename (str): The checkpoint, for messages.
        stored (Any): What ``to_dict`` of its base gave when it was written.
        schedule (SwapSchedule): The present schedule.
    """

    def __init__(self, filename: str, stored: Any, schedule: SwapSchedule) -> None:
        self.filename = filename
        self.schedule = schedule
        self.current = schedule.base.to_dict()  # decisions are replayed, not compared
        self.stored = stored

    def check(self) -> bool:
        """Compare them.

        Returns:
            bool: Whether the number of processes is another one.

        Raises:
            ConfigError: If the total batch is another one.
            CheckpointError: If anything else is.
        """
        if self.stored == self.current:
            return False
        try:
            before, now = _in_total_batches(self.stored), _in_total_batches(self.current)
            world = int(self.stored['world_size'])
            size = sum(before['phases'][0]['split'].values()) // world
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise CheckpointError(f'{self.filename} holds no schedule of a swap.') from None
        self._check_batch(size, world)
        if difference := _first_difference(before, now):
            key, old, new = difference
            raise CheckpointError(
                f'{self.filename} was written under another schedule: {key} was {old!r}, now it is '
                f'{new!r} (samples of a batch are counted over all processes; it had {world} with '
                f'a batch of {size} each){_other_data(before, now)}. Fix: resume with the config '
                f'and data of that run{_way_back(key, before)}.'
            )
        return world != self.schedule.world_size

    def _check_batch(self, size: int, world: int) -> None:
        own, processes = self.schedule.batch_size, self.schedule.world_size
        total = size * world
        if own * processes == total:
            return
        fix = f'go on with {world} processes and train_dataloader.batch_size = {size}'
        if total % processes == 0:
            fix = f'set it to {total // processes} (and a split of a phase accordingly), or {fix}'
        problem = (
            f'{processes} processes with it make a total batch of {own * processes}, but '
            f'{self.filename} was written with {total} ({world} processes with {size} each)'
        )
        raise ConfigError('train_dataloader.batch_size', own, problem, fix)


def _in_total_batches(schedule: Mapping[str, Any]) -> dict[str, Any]:
    # Before there was the key, a split was that of one process, and rounded there.
    each, phases = 1 if 'total_batch' in schedule else schedule['world_size'], []
    for phase in schedule['phases']:
        share, retain = phase['merged_share'], phase['split']['retain']
        split = {role: count * each for role, count in phase['split'].items()}
        learned = None if share is None else round(share * retain) * each
        phases.append(phase | dict(split=split, learned_in_retain=learned))
    return dict(phases=phases, role_sizes=schedule['role_sizes'])


def _other_data(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Which roles have more or fewer samples: numbers that are ``auto`` follow them."""
    sizes = before['role_sizes'], now['role_sizes']
    changes = [
        f'{role} data had {sizes[0].get(role, 0)} samples, now {count}'
        for role, count in sizes[1].items()
        if count != sizes[0].get(role, 0)
    ]
    return f'; the data are others: {", ".join(changes)}' if changes else ''


def _way_back(key: str, before: Mapping[str, Any]) -> str:
    """What to write into a config to have the shares of an earlier run."""
    _, _, index, name, *_ = [*key.split('.'), '', '']
    if name not in ('split', 'learned_in_retain') or not index.isdecimal():
        return ''
    phase = before['phases'][int(index)]
    if name == 'split':
        split = {role: count for role, count in phase['split'].items() if count}
        return f', e.g. swap.phases.{index}.split = {split} (of all processes together)'
    share = round(phase['learned_in_retain'] / phase['split']['retain'], 4)
    return f', e.g. swap.phases.{index}.merged_share = {share}'


def _first_difference(old: Any, new: Any, key: str = 'swap') -> tuple[str, Any, Any] | None:
    """The key at which two plain values differ first, and both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(name, old.get(name), new.get(name)) for name in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(index, *pair) for index, pair in enumerate(zip(old, new, strict=True))]
    else:
        return None if old == new else (key, old, new)
    found = (_first_difference(left, right, f'{key}.{name}') for name, left, right in pairs)
    return next((each for each in found if each), None)
