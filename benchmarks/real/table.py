"""Rows of what was measured, and the table of it."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.visualization.tables import markdown_table
from real.plan import AUTO, CLASSIFICATION, JOINT, RECIPES, REFERENCES, SWAPS, WITHOUT
from real.runs import finished

_OF_REFERENCES = ('learn_reference', 'retain_reference', 'references')


def rows_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a finished swap, recipe and seed; all values in percent of the test images.

    References are those of the recipe ``auto`` and of the row's seed, else the mean of the seeds
    that there are. That of learn is the higher of both runs, that of retain the run without the
    forget set.
    """
    rows = []
    for name, swap in SWAPS.items():
        known = {seed: each for seed in args.seeds if (each := _references(name, seed, args))}
        for recipe in RECIPES:
            for seed in args.seeds:
                found = finished(name, recipe, seed, args)
                if found is None:
                    continue
                row = dict(swap=name, task=swap.task, recipe=recipe, seed=seed, **found)
                used = [known[seed]] if seed in known else list(known.values())
                row['learn_reference'] = _mean([each[LEARN] for each in used])
                row['retain_reference'] = _mean([each[RETAIN] for each in used])
                row['references'] = {str(each): values for each, values in known.items()}
                rows.append(row)
    return rows


def _references(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    runs = {each: finished(name, f'{AUTO}_{each}', seed, args) for each in REFERENCES}
    if None in runs.values():
        return None
    ends = {each: run['end'] for each, run in runs.items()}
    learn = max(end[LEARN] for end in ends.values())
    return {LEARN: learn, RETAIN: ends[WITHOUT][RETAIN], JOINT: ends[JOINT], WITHOUT: ends[WITHOUT]}


def _mean(values: list[float]) -> float | None:
    return round(statistics.mean(values), 2) if values else None


def _reference(rows: list[dict[str, Any]], role: str) -> float | None:
    """Mean over the rows of what is known of a reference."""
    return _mean([x for row in rows if (x := row[f'{role}_reference']) is not None])


def with_earlier(rows: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows, and those of earlier measurements that were not made again, in the order of swaps.

    A row without references takes those of the earlier one, if both began with the same host: if
    what they read before the swap is the same.
    """

    def key(row: dict[str, Any]) -> tuple[int, int, int]:
        return list(SWAPS).index(row['swap']), RECIPES.index(row['recipe']), row['seed']

    found = {key(row): row for row in earlier}
    for row in rows:
        before = found.get(key(row))
        if before and not row['references'] and row['start'] == before['start']:
            row = row | {name: before[name] for name in _OF_REFERENCES}
        found[key(row)] = row
    return [each for _, each in sorted(found.items())]


def misses(rows: list[dict[str, Any]]) -> list[str]:
    """Which bars the mean of the seeds of a swap and recipe does not reach (issue 26)."""
    end = {role: statistics.mean(row['end'][role] for row in rows) for role in ROLES}
    start = statistics.mean(row['start'][RETAIN] for row in rows)
    learn, retain = (_reference(rows, role) for role in (LEARN, RETAIN))
    most = 1.0 if rows[0]['task'] == CLASSIFICATION else 2.0
    found = [f'forget {end[FORGET]:.1f} > {most:g}'] if end[FORGET] > most else []
    if learn is None or retain is None:
        return [*found, 'no reference']
    if end[LEARN] < 0.9 * learn:
        found.append(f'learn {end[LEARN]:.1f} < {0.9 * learn:.1f}')
    if end[RETAIN] < (least := max(min(start, retain) - 1, retain - 3)):
        found.append(f'retain {end[RETAIN]:.1f} < {least:.1f}')
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Mean, and each seed, of every swap and recipe, beside references, bars and costs."""
    lines = []
    for name in dict.fromkeys(row['swap'] for row in rows):
        own = [row for row in rows if row['swap'] == name]
        base = [row for row in own if row['recipe'] == 'readme']
        for recipe in dict.fromkeys(row['recipe'] for row in own):
            group = [row for row in own if row['recipe'] == recipe]
            start = _by_role(group, 'start')
            lines.append(
                [
                    name,
                    recipe,
                    start,
                    *(_shown(group, 'end', role) for role in ROLES),
                    *(_number(_reference(group, role)) for role in (LEARN, RETAIN)),
                    _cost(group, base, 'images'),
                    _cost(group, base, 'seconds'),
                    '; '.join(misses(group)),
                ]
            )
    head = [
        'swap', 'recipe', 'start', *ROLES, 'learn reference', 'retain reference', 'images',
        'seconds', 'misses',
    ]  # fmt: skip
    return markdown_table(head, lines)


def host_table(names: Sequence[str], cards: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a host: test, last validation, and what it gained in the last quarter."""
    lines = []
    for name in names:
        if name not in cards:
            lines.append([name, '-', '-', '-', 'not trained'])
            continue
        card = cards[name]
        remarks = [] if card['converged'] else ['no plateau']
        if card['least'] and card['test'] < card['least']:
            remarks.append(f'below {card["least"]:g}')
        last = list(card['curve'].values())[-1:] or [None]
        lines.append([name, card['test'], last[0], card['gained_at_the_end'], ', '.join(remarks)])
    head = ['host', 'test', 'validation at the end', 'gained in the last quarter', '']
    return markdown_table(head, lines)


def short_table(rows: list[dict[str, Any]]) -> str:
    """A line a swap: before it, after it by the recipe, the references, the other recipes."""
    lines = []
    for name in dict.fromkeys(row['swap'] for row in rows):
        own = {recipe: [r for r in rows if (r['swap'], r['recipe']) == (name, recipe)]
               for recipe in RECIPES}  # fmt: skip
        auto = own[AUTO]
        if not auto:
            continue
        references = [_number(_reference(auto, role)) for role in (LEARN, RETAIN)]
        others = [_by_role(own[recipe], 'end') if own[recipe] else '-' for recipe in RECIPES[1:]]
        ends = _by_role(auto, 'start'), f'**{_by_role(auto, "end")}**'
        lines.append([name, *ends, *references, *others, '; '.join(misses(auto))])
    head = ['swap', 'before', 'recipe', 'learn reference', 'retain reference', 'old defaults',
            'official', 'missed']  # fmt: skip
    return markdown_table(head, lines)


def _by_role(rows: list[dict[str, Any]], state: str) -> str:
    return ' / '.join(_shown(rows, state, role, seeds=False) for role in ROLES)


def _shown(rows: list[dict[str, Any]], state: str, role: str, seeds: bool = True) -> str:
    values = [row[state][role] for row in rows]
    mean = f'{statistics.mean(values):.1f}'
    each = ', '.join(f'{value:.1f}' for value in values)
    return f'{mean} ({each})' if seeds and len(values) > 1 else mean


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def _cost(rows: list[dict[str, Any]], base: list[dict[str, Any]], key: str) -> str:
    """Mean, and its ratio to README's recipe."""
    mean = statistics.mean(row[key] for row in rows)
    whole = statistics.mean(row[key] for row in base) if base and rows is not base else 0
    return f'{mean:.0f}' + (f' ({mean / whole:.2f}x)' if whole else '')
