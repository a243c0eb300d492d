"""Which class plays which role."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from knowswap_mm.checks import check_keys, nearest_name
from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.io.text_files import read_json, read_lines
from knowswap_mm.roles import FORGET, LEARN, RETAIN

MARK = '\ufeff'


def read_class_names(key: str, value: str | Sequence[str] | None) -> list[str] | None:
    """Read a class list.

    Args:
        key (str): Config key, for messages.
        value (str | Sequence[str] | None): Names, or the path of a ``.txt`` file (one name a line;
            a line that begins with ``# `` is a comment) or a ``.json`` file (a list), or None.

    Returns:
        list[str] | None: The names in Unicode's composed form (NFC), None for None.

    Raises:
        ConfigError: If the file is missing or broken, or a name occurs twice.
    """
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple)):
        fix = "write e.g. ['cat', 'dog'] or the path of a file of names"
        raise ConfigError(key, value, 'not a list of class names', fix)
    names = _read_file(key, value) if isinstance(value, str) else list(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(key, value, 'not a list of class names', "e.g. ['cat', 'dog']")
    names = [composed(name) for name in names]
    if marked := [name for name in names if MARK in name]:
        problem = f'a byte order mark is no part of a name: {marked[0]!r}'
        raise ConfigError(key, value, problem, 'take it out, or save the file again as UTF-8')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(key, value, f'class {twice!r} is listed twice', 'list it once')
    return names


def match_names(option: str, given: Sequence[str], known: Sequence[str], where: str) -> list[str]:
    """Full names of classes: as they are, joined by commas, or what stands before their comma.

    Raises:
        ConfigError: If one is unknown, or named twice.
    """
    short: dict[str, list[str]] = {}
    for name in known:
        short.setdefault(name.split(',')[0].strip(), []).append(name)
    found = []
    for word in map(composed, given):
        for name in [word] if word in known or word in short else word.split(','):
            full = short.get(name.strip(), [])
            found.append(full[0] if name not in known and len(full) == 1 else name.strip())
    check_known(option, found, known, where)
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise ConfigError(option, list(given), f'class {twice!r} is listed twice', 'list it once')
    return found


def names_after(option: str, given: list[str] | None) -> list[str] | None:
    """Names that follow an option: the words themselves, or the lines of a file.

    Raises:
        ConfigError: If the file is no list of names, or a name is empty or occurs twice.
    """
    if not given:
        return None
    is_file = len(given) == 1 and os.path.isfile(given[0])
    return read_class_names(option, given[0] if is_file else given)


def _read_file(key: str, path: str) -> list[str]:
    if '\0' in path or not os.path.isfile(path):
        fix = 'give a list of names, or the path of an existing .txt or .json file of names'
        raise ConfigError(key, path, 'no such file', fix)
    try:
        if path.lower().endswith('.json'):
            names = read_json(path)
        else:
            names = read_lines(path)
    except FileError as error:
        raise ConfigError(
            key, path, f'cannot be read as text or json (it {error.problem})', error.fix
        ) from None
    if not isinstance(names, list):
        raise ConfigError(key, path, 'holds no list', 'write a json list of names')
    return names


def composed(name: str) -> str:
    """A name in Unicode's composed form: some systems store ``é`` as two characters (NFD)."""
    return unicodedata.normalize('NFC', name)


def check_known(key: str, names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raise if a name is not among the known ones.

    Raises:
        ConfigError: Names the first unknown class and the nearest known ones.
    """
    lookup = set(known)
    for name in names:
        if name not in lookup:
            near = nearest_name(name, known, 3) or list(known)[:5]
            raise ConfigError(
                key, name, f'unknown class; it is not among {where}', f'did you mean one of {near}'
            )


KEY = 'swap.classes.old'
#: Folder names of the official layout: ``17_n01537544`` is class 17.
LEADING_INTEGER = 'leading_integer'
#: COCO categories in the order of their ids, without gaps.
CATEGORY_ID = 'category_id'
#: COCO category ids themselves are the labels; gaps become unused rows (the official detector).
RAW_CATEGORY_ID = 'raw_category_id'
ORDERS = (LEADING_INTEGER, CATEGORY_ID, RAW_CATEGORY_ID)


def order_classes(
    how: str, names: Iterable[str], numbers: Iterable[Mapping[str, int]]
) -> list[str]:
    """Put the old classes in the order of the pretrained head.

    Args:
        how (str): One of :data:`ORDERS`.
        names (Iterable[str]): Class names that occur in the forget and retain data.
        numbers (Iterable[Mapping[str, int]]): Numbers that these data sets give their classes.

    Returns:
        list[str]: The names; the position is the label.

    Raises:
        ConfigError: If the data does not tell one order.
    """
    if how == LEADING_INTEGER:
        return _without_gap(_by_number((name, _leading_integer(name)) for name in sorted(names)))
    pairs = sorted({pair for table in numbers for pair in table.items()})
    named = _by_number(pairs, how)
    if twice := [name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1]:
        problem = f'the data gives {twice[0]!r} two numbers'
        raise ConfigError(KEY, how, problem, 'number it alike in the forget and retain data')
    if not named:
        fix = 'give the forget and retain roles COCO data, or list the classes by name'
        raise ConfigError(KEY, how, 'the data numbers no class', fix)
    if how == CATEGORY_ID:
        return [named[number] for number in sorted(named)]
    return [named.get(number, f'unused-{number}') for number in range(max(named) + 1)]


def _by_number(pairs: Iterable[tuple[str, int]], how: str = LEADING_INTEGER) -> dict[int, str]:
    named: dict[int, str] = {}
    for name, number in pairs:
        if number in named and named[number] != name:
            problem = f'{named[number]!r} and {name!r} have the same number'
            raise ConfigError(KEY, how, problem, 'give every class its own number')
        named[number] = name
    return named


def _leading_integer(name: str) -> int:
    head = name.split('_')[0]
    if not head.isascii() or not head.isdigit():
        fix = f'rename the folder to <number>_<name>, or list {KEY} by name'
        raise ConfigError(KEY, name, 'the folder has no leading number', fix)
    return int(head)


def _without_gap(named: dict[int, str]) -> list[str]:
    if not named:
        fix = f'give the forget and retain roles data, or list {KEY} by name'
        raise ConfigError(KEY, LEADING_INTEGER, 'there is no folder to read', fix)
    if sorted(named) != list(range(len(named))):
        missing = sorted(set(range(max(named) + 1)) - set(named))[:5]
        fix = 'the forget and retain folders together must hold every old class'
        raise ConfigError(KEY, LEADING_INTEGER, f'no folder for {missing}', fix)
    return [named[number] for number in range(len(named))]


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
