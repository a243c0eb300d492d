"""Which class plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowswap_mm.datasets.class_names import check_known, read_class_names
from knowswap_mm.datasets.class_order import ORDERS, order_classes
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.value_checks import check_keys

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
        cls,
        config: Mapping[str, Any],
        dataset_classes: Mapping[str, Sequence[str]],
        class_numbers: Mapping[str, Mapping[str, int]] | None = None,
    ) -> ClassRoles:
        """Resolve ``swap.classes`` with the help of the data sets.

        Args:
            config (Mapping): ``old``, ``learn``, ``forget`` and ``retain``: a list of names, a file
                of names or None. ``old`` may also name an order that the forget and retain data
                know (the official layouts): ``leading_integer`` reads folder names
                (``17_n01537544`` is class 17), ``category_id`` sorts COCO categories by id,
                ``raw_category_id`` takes the ids as labels. ``forget=None`` and ``learn=None``
                take all classes that occur in their data set.
            dataset_classes (Mapping[str, Sequence[str]]): Classes that occur in each role's data.
            class_numbers (Mapping | None): Numbers that each role's data gives its classes.

        Returns:
            ClassRoles: The partition.

        Raises:
            ConfigError: If the config cannot be resolved.
        """
        check_keys('swap.classes', config, _KEYS)
        given = {k: config.get(k) for k in _KEYS}
        ordered = isinstance(given['old'], str) and given['old'] in ORDERS
        if ordered:
            pool = {*dataset_classes.get(FORGET, ()), *dataset_classes.get(RETAIN, ())}
            numbers = [(class_numbers or {}).get(role, {}) for role in (FORGET, RETAIN)]
            given['old'] = order_classes(given['old'], pool, numbers)
        lists = {
            # Nothing to learn, or nothing to forget, is a swap as well.
            k: [] if k in (LEARN, FORGET) and v == [] else read_class_names(f'swap.classes.{k}', v)
            for k, v in given.items()
        }
        if lists['old'] is None:
            fix = 'list the classes of the pretrained head in its order'
            raise ConfigError('swap.classes.old', None, 'the old classes are missing', fix)
        for role in (LEARN, FORGET):
            if lists[role] is None:
                # A label map may give two host classes one name.
                lists[role] = list(dict.fromkeys(dataset_classes.get(role, ())))
        if ordered and lists[RETAIN] is None:
            kept = set(dataset_classes.get(RETAIN, ())) - set(given[FORGET] and lists[FORGET] or ())
            lists[RETAIN] = [name for name in lists['old'] if name in kept]
        return cls(**lists)
