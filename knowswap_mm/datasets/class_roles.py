"""Which class plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowswap_mm.datasets.class_names import check_known, read_class_names
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import FORGET, LEARN, RETAIN

LEADING_INTEGER = 'leading_integer'
_KEYS = ('old', LEARN, FORGET, RETAIN)


class ClassRoles:
    """Partition of all classes into learn, forget and retain.

    Labels are positions in :attr:`names`: the old classes in the order of the pretrained head, then
    the classes to learn.

    Args:
        old (Sequence[str]): Names of the classes that the pretrained model knows, in the order of
            its head.
        learn (Sequence[str]): Names of the new classes.
        forget (Sequence[str]): Names of the old classes that must be lost.
        retain (Sequence[str] | None): Names of the old classes that must stay; None for all old
            ones that are not forgotten. Old classes in neither list are left alone.

    Raises:
        ConfigError: If a class plays two roles or is unknown.
    """

    def __init__(
        self,
        old: Sequence[str],
        learn: Sequence[str] = (),
        forget: Sequence[str] = (),
        retain: Sequence[str] | None = None,
    ) -> None:
        check_known('swap.classes.forget', forget, old, 'the old classes')
        check_known('swap.classes.retain', retain or (), old, 'the old classes')
        for name in learn:
            if name in set(old):
                fix = 'take it out of swap.classes.learn or rename the new class'
                raise ConfigError('swap.classes.learn', name, 'it is an old class already', fix)
        forgotten = set(forget)
        for name in retain or ():
            if name in forgotten:
                fix = 'list it in one of them'
                problem = 'the class is listed under forget and under retain'
                raise ConfigError('swap.classes.retain', name, problem, fix)
        self.old = list(old)
        self.learn = list(learn)
        self.forget = list(forget)
        self.retain = [n for n in old if n not in forgotten] if retain is None else list(retain)

    @property
    def names(self) -> list[str]:
        """All class names; the position is the label."""
        return self.old + self.learn

    def of(self, role: str) -> list[str]:
        """Class names of a role."""
        return {LEARN: self.learn, FORGET: self.forget, RETAIN: self.retain}[role]

    def to_dict(self) -> dict[str, list[str]]:
        """Plain data for manifests and the run folder."""
        return dict(old=self.old, learn=self.learn, forget=self.forget, retain=self.retain)

    @classmethod
    def resolve(
        cls, config: Mapping[str, Any], dataset_classes: Mapping[str, Sequence[str]]
    ) -> ClassRoles:
        """Resolve ``swap.classes`` with the help of the data sets.

        Args:
            config (Mapping): ``old``, ``learn``, ``forget`` and ``retain``: a list of names, a file
                of names or None. ``old='leading_integer'`` reads the folder names of the official
                layout (``17_n01537544`` is class 17): they come from the forget and retain data and
                must number from 0 without a gap. ``forget=None`` and ``learn=None`` take all
                classes of their data set.
            dataset_classes (Mapping[str, Sequence[str]]): Class names of each role's data set.

        Returns:
            ClassRoles: The partition.

        Raises:
            ConfigError: If the config cannot be resolved.
        """
        if unknown := sorted(set(config) - set(_KEYS)):
            key = f'swap.classes.{unknown[0]}'
            raise ConfigError(key, config[unknown[0]], 'unknown key', f'use {_KEYS}')
        given = {k: config.get(k) for k in _KEYS}
        official = given['old'] == LEADING_INTEGER
        if official:
            pool = {*dataset_classes.get(FORGET, ()), *dataset_classes.get(RETAIN, ())}
            given['old'] = _by_leading_integer(pool)
        lists = {k: read_class_names(f'swap.classes.{k}', v) for k, v in given.items()}
        if lists['old'] is None:
            fix = 'list the classes of the pretrained head in its order'
            raise ConfigError('swap.classes.old', None, 'the old classes are missing', fix)
        for role in (LEARN, FORGET):
            if lists[role] is None:
                # A label map may give two host classes one name.
                lists[role] = list(dict.fromkeys(dataset_classes.get(role, ())))
        if official and lists[RETAIN] is None:
            lists[RETAIN] = [n for n in lists['old'] if n in set(dataset_classes.get(RETAIN, ()))]
        return cls(**lists)


def _by_leading_integer(names: set[str]) -> list[str]:
    if not names:
        fix = 'give the forget and retain roles data, or list swap.classes.old by name'
        raise ConfigError('swap.classes.old', LEADING_INTEGER, 'there is no folder to read', fix)
    numbers: dict[int, str] = {}
    for name in sorted(names):
        head = name.split('_')[0]
        if not head.isascii() or not head.isdigit():
            fix = 'rename the folder to <number>_<name>, or list swap.classes.old by name'
            raise ConfigError('swap.classes.old', name, 'the folder has no leading number', fix)
        if int(head) in numbers:
            fix = 'give every class its own number'
            problem = f'{numbers[int(head)]!r} and {name!r} have the same number'
            raise ConfigError('swap.classes.old', LEADING_INTEGER, problem, fix)
        numbers[int(head)] = name
    if sorted(numbers) != list(range(len(numbers))):
        missing = sorted(set(range(max(numbers, default=0) + 1)) - set(numbers))[:5]
        fix = 'the forget and retain folders together must hold every old class'
        raise ConfigError('swap.classes.old', LEADING_INTEGER, f'no folder for {missing}', fix)
    return [numbers[k] for k in range(len(numbers))]
