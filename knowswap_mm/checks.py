"""Checks of single values of a config; each raises ConfigError with the key, the value, the fix.

In all of them ``key`` is the config key as a user would write it, ``value`` what was received, and
``example`` what the message shows.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from knowswap_mm.errors import ConfigError


def check_flag(key: str, value: Any) -> None:
    """Require True or False."""
    if not isinstance(value, bool):
        raise ConfigError(key, value, 'neither True nor False', 'use one of them')


def check_whole(key: str, value: Any, least: int = 1, example: int | None = None) -> None:
    """Require an integer from ``least`` on, which is also the ``example`` if there is none."""
    if type(value) is not int or value < least:
        shown = least if example is None else example
        raise ConfigError(key, value, f'not an integer >= {least}', f'e.g. {shown}')


def whole_numbers(key: str, value: Any, example: list[int]) -> list[int]:
    """Integers from 1 on, in their order and each once, of one or of a list of them."""
    several = list(value) if isinstance(value, (list, tuple)) else [value]
    if not several:
        raise ConfigError(key, value, 'an empty list', f'e.g. {example}')
    for each in several:
        check_whole(key, each, 1, example[0])
    return sorted(set(several))


def check_number(key: str, value: Any, limits: str, example: float | str) -> None:
    """Require a finite number within ``limits``.

    They are as the message shows them: ``> 0``, ``>= 0``, ``in (0, 1]`` or ``in [0, 1)``. An
    ``example`` that is a string is the whole of the fix.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) < 1e300 or not _within(value, limits):
        fix = example if isinstance(example, str) else f'e.g. {example:g}'
        raise ConfigError(key, value, f'not a finite number {limits}', fix)


def _within(value: float, limits: str) -> bool:
    word, *bounds = re.sub(r'[\[(,\])]', '', limits).split()
    low, high = (float(bound) for bound in (*bounds, 'inf')[:2])
    above = value >= low if word == '>=' or '[' in limits else value > low
    return above and (value < high if limits.endswith(')') else value <= high)


def check_choice(key: str, value: Any, known: Iterable[str], what: str = 'choice') -> None:
    """Require one of the ``known`` names; the message says ``what`` it is."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise ConfigError(key, value, f'unknown {what}', f'use one of {known}')


def check_text(key: str, value: Any, example: str) -> None:
    """Require a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigError(key, value, 'not a string, or an empty one', f'e.g. {example!r}')


def check_texts(key: str, value: Any, example: str) -> None:
    """Require a list of strings such as ``example``."""
    listed = isinstance(value, (list, tuple))
    if not listed or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(key, value, 'not a list of strings', f'e.g. [{example!r}]')


def check_patterns(key: str, value: Any) -> None:
    """Require a list of regular expressions."""
    check_texts(key, value, 'decoder')
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            problem = f'{pattern!r} is no regular expression ({error})'
            fix = "use a list of them, e.g. ['decoder']"
            raise ConfigError(key, list(value), problem, fix) from None


def check_mapping(key: str, value: Any, example: str) -> None:
    """Require a dict."""
    if not isinstance(value, Mapping):
        raise ConfigError(key, value, 'not a dict', f'write e.g. {example}')


def nearest_name(name: Any, known: Iterable[Any], count: int = 1) -> list[str]:
    """Up to ``count`` names that a wrong one may stand for, the best first; may be empty.

    They are compared in any case of letters.
    """
    by_lower: dict[str, str] = {}
    for each in known:
        by_lower.setdefault(str(each).lower(), str(each))
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=count, cutoff=0.5)
    return [by_lower[each] for each in found]


def did_you_mean(name: Any, known: Iterable[Any]) -> str:
    """The fix that an error offers for a wrong name: the nearest ``known`` one, and all of them."""
    known = [str(each) for each in known]
    listed = f'use {known}' if len(known) > 1 else f'use {known[0]!r}' if known else 'take it out'
    near = nearest_name(name, known)
    return f'did you mean {near[0]!r}? Otherwise {listed}' if near and len(known) > 1 else listed


def check_keys(
    key: str, given: Mapping[Any, Any], known: Iterable[str], problem: str = 'unknown key'
) -> None:
    """Require that a dict has no other keys than the known ones (issue 24).

    The ``key`` is empty for the top of a file; ``problem`` is what the message says of another key.

    Raises:
        ConfigError: Names the first unknown key and the nearest known one.
    """
    known = list(known)
    for name, value in given.items():
        if name not in known:
            where = f'{key}.{name}' if key else str(name)
            raise ConfigError(where, value, problem, did_you_mean(name, known))


def arguments_of(kind: type) -> list[str] | None:
    """Names of the arguments with which a class can be built from a config; None: any is taken.

    Where its ``__init__`` hands ``**kwargs`` on, those of its bases count as well.
    """
    names: list[str] = []
    owners = [each for each in kind.__mro__ if '__init__' in vars(each) and each is not object]
    for each in owners:
        own = vars(each)['__init__']
        parameters = list(inspect.signature(own).parameters.values())[1:]
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names += [p.name for p in parameters if p.kind in named and p.name not in names]
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            return names
    return None if owners else []


def check_arguments(key: str, config: Mapping[str, Any], kind: type) -> None:
    """Require that a class takes every key of a config, but for ``type`` and ``_scope_``.

    A class of elsewhere with ``**kwargs``, or one with an attribute ``open_arguments``, checks by
    itself what it hands on.

    Raises:
        ConfigError: Names the first unknown key and the nearest known one.
    """
    names = arguments_of(kind)
    foreign = not kind.__module__.startswith('knowswap_mm.')
    rest = [p.kind for p in inspect.signature(kind).parameters.values()] if foreign else []
    handed_on = inspect.Parameter.VAR_KEYWORD in rest or getattr(kind, 'open_arguments', False)
    if names is not None and not handed_on:
        check_keys(key, config, ['type', *names, '_scope_'])
