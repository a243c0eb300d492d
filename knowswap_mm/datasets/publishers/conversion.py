"""What the conversions of all data sets share."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.datasets.class_names import read_class_names
from knowswap_mm.datasets.picture_limit import picture_limit
from knowswap_mm.datasets.publishers.picture import SourceError
from knowswap_mm.datasets.publishers.selection import match_names
from knowswap_mm.errors import ConfigError, SwapError
from knowswap_mm.value_checks import check_whole


def run_conversion(
    args: argparse.Namespace, convert: Callable[[argparse.Namespace], tuple[bool, str]]
) -> None:
    """Convert, and end the process with a message if something is wrong.

    Args:
        args (argparse.Namespace): The options.
        convert (Callable): Converts as the options say and returns whether anything was written,
            and a summary. Its options ``classes``, ``learn`` and ``forget`` are lists or None,
            ``way`` is how pictures are placed, ``request`` what a manifest keeps.
    """
    started = time.perf_counter()
    try:
        picture_limit()
        for name in ('classes', 'learn', 'forget'):
            setattr(args, name, _names(f'--{name}', getattr(args, name)))
        if args.learn and (args.classes or args.forget):
            fix = 'leave out --classes and --forget'
            raise ConfigError('--learn', args.learn, 'lists a set of new classes', fix)
        check_whole('--seed', args.seed, 0)
        args.way = 'copy' if args.copy else 'link'
        args.request = dict(dataset=args.dataset, seed=args.seed, command=args.words)
        written, summary = convert(args)
    except (SwapError, ValueError, OSError) as error:
        sys.exit(str(error))
    state = 'written' if written else 'is there already'
    print(f'{args.out}: {state}, {summary} ({time.perf_counter() - started:.1f} s)')


def find_roles(args: argparse.Namespace, known: Sequence[str]) -> dict[str, list[str]]:
    """Classes of each role.

    Args:
        args (argparse.Namespace): The options; their names are set to those of the data set.
        known (Sequence[str]): Classes of the data set, in its order.

    Returns:
        dict[str, list[str]]: ``learn``, or ``forget`` and ``retain``, or nothing.

    Raises:
        SourceError: If a class is unknown.
    """
    options: dict[str, Any] = vars(args)
    for name in ('classes', 'learn', 'forget'):
        if options[name]:
            options[name] = match_names(options[name], known, args.source, f'--{name}')
    if args.learn:
        return dict(learn=args.learn)
    if not args.forget:
        return {}
    kept = [name for name in args.classes or known if name not in set(args.forget)]
    if not kept:
        raise SourceError(args.source, ['--forget names all classes. Fix: leave some to retain'])
    return dict(forget=args.forget, retain=kept)


def _names(option: str, given: list[str] | None) -> list[str] | None:
    """A list of names, or the lines of a file."""
    if given and len(given) == 1 and Path(given[0]).is_file():
        return read_class_names(option, given[0])
    return read_class_names(option, given)
