"""Orders of the old classes that the data itself knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from knowswap_mm.errors import ConfigError

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
