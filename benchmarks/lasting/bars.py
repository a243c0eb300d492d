"""The bars of issue 27, and the tables of rows and references."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy import stats

from knowswap_mm.audit.findings import HEAD
from knowswap_mm.audit.references import RANGE
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.visualization.tables import markdown_table
from lasting.gaps import PROBES, UNTUNED, geometric
from lasting.plan import RECIPE

#: Points that may be lost of retain, and of learn against the present recipe; forget accuracy in
#: percent.
RETAINED, LEARNED, LEFT = 1.0, 2.0, 0.5
#: Points of the mean gap and of one layer, steps of the swap by those of the references, total
#: variation.
MEAN, LAYER, STEPS, ANSWERS = 5.0, 10.0, (0.75, 1.5), 0.15
#: A step (by one of the learn phase of its run) and memory of the forget phase by those of the
#: present recipe.
COSTS = dict(step=2.0, memory=1.2)
Row = Mapping[str, Any]


def misses(rows: Sequence[Row], recipe: Sequence[Row] = ()) -> list[str]:
    """The bars that the seeds of a benchmark and objective do not reach, with the numbers.

    Args:
        rows (Sequence[Row]): A row a seed.
        recipe (Sequence[Row]): Those of the present recipe on the same benchmark.
    """
    return [*_of_roles(rows, recipe), *_of_gaps(rows), *_of_other_attacks(rows),
            *_of_costs(rows, recipe)]  # fmt: skip


def _of_roles(rows: Sequence[Row], recipe: Sequence[Row]) -> Iterator[str]:
    if (forgot := _of(rows, 'end', FORGET)) > LEFT:
        yield f'forget {forgot:.1f} > {LEFT:g}'
    bar, name = min((_of(rows, 'start', RETAIN), 'start'),
                    (_of(rows, 'learn_end', RETAIN), 'end of the learn phase'))  # fmt: skip
    if (kept := _of(rows, 'end', RETAIN)) < bar - RETAINED:
        yield f'retain {kept:.2f} < {bar - RETAINED:.2f} ({name} - {RETAINED:g})'
    if not recipe:
        yield 'learn: no run of the present recipe'
    elif (learned := _of(rows, 'end', LEARN)) < (bar := _of(recipe, 'end', LEARN) - LEARNED):
        yield f'learn {learned:.2f} < {bar:.2f} (recipe - {LEARNED:g})'


def _of_gaps(rows: Sequence[Row]) -> Iterator[str]:
    limit = max(MEAN, 2 * statistics.mean(row['references_deviate'] for row in rows))
    for places in (HEAD, 'layers'):
        gaps = [gap for row in rows if (gap := mean_gap(row, places)) is not None]
        if not gaps:
            yield f'{places}: not measured'
            continue
        low, high = interval(gaps)
        if low < -limit or high > limit:
            yield f'{places}: {low:+.1f} to {high:+.1f}, not within {limit:.1f}'
    places = [
        (abs(gap), attack, place)
        for row in rows
        for attack, gaps in row['gaps'].items()
        if attack.startswith(PROBES)
        for place, gap in gaps.items()
    ]
    worst = max(places, default=None)
    if worst and worst[0] > LAYER:
        yield f'{worst[1]} at {worst[2]}: off by {worst[0]:.1f} > {LAYER:g}'
    for attack in UNTUNED:
        gaps = [row['gaps'][attack][HEAD] for row in rows if attack in row['gaps']]
        if not gaps:
            yield f'{attack}: not measured'
        elif abs(statistics.mean(gaps)) > limit:
            yield f'{attack}: {statistics.mean(gaps):+.1f}, not within {limit:.1f}'


def _of_other_attacks(rows: Sequence[Row]) -> Iterator[str]:
    for key in ('relearning', 'prototype_relearning'):
        ratios = [row[key] for row in rows]
        if None in ratios:
            yield f'{key}: not measured, or a limit of steps was reached'
        elif not STEPS[0] <= geometric(ratios) <= STEPS[1]:
            yield f'{key}: {geometric(ratios):.2f} times the steps'
    far = [row['total_variation'] for row in rows if row['total_variation'] is not None]
    if not far:
        yield 'total variation: not measured'
    elif statistics.mean(far) > ANSWERS:
        yield f'total variation {statistics.mean(far):.2f} > {ANSWERS:g}'
    for score in dict.fromkeys(name for row in rows for name in row['membership']):
        outside = [row['seed'] for row in rows if row['membership'].get(score) is False]
        if 2 * len(outside) > len(rows):
            yield f'membership, {score}: outside the interval in {len(outside)} of {len(rows)}'


def _of_costs(rows: Sequence[Row], recipe: Sequence[Row]) -> Iterator[str]:
    for key, most in COSTS.items():
        times = ratio(rows, recipe, key)
        if times is not None and times > most:
            yield f'{key}: {times:.2f} times that of the recipe > {most:g}'


def ratio(rows: Sequence[Row], recipe: Sequence[Row], key: str) -> float | None:
    """A cost by that of the recipe, as means; None if one is not known."""
    mine, other = ([r[key] for r in each if r[key] is not None] for each in (rows, recipe))
    return statistics.mean(mine) / statistics.mean(other) if mine and other else None


def mean_gap(row: Row, places: str) -> float | None:
    """Mean gap of the probes at the ``head``, or over all ``layers`` of the model."""
    found = [
        gap
        for attack, gaps in row['gaps'].items()
        if attack.startswith(PROBES)
        for place, gap in gaps.items()
        if (place == HEAD) == (places == HEAD)
    ]
    return statistics.mean(found) if found else None


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean (Student's); without an end for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values) - half, statistics.mean(values) + half


def table(rows: Sequence[Row]) -> str:
    """A line a benchmark and objective: means over the seeds, gaps, and what is missed."""
    lines = []
    for key in dict.fromkeys((row['benchmark'], row['objective']) for row in rows):
        own = [row for row in rows if (row['benchmark'], row['objective']) == key]
        base = [r for r in rows if (r['benchmark'], r['objective']) == (key[0], RECIPE)]
        ends = ' / '.join(f'{_of(own, "end", role):.1f}' for role in ROLES)
        gaps = [_mean([mean_gap(row, places) for row in own]) for places in (HEAD, 'layers')]
        others = [_mean([row[k] for row in own], '.2f') for k in
                  ('relearning', 'prototype_relearning', 'total_variation')]  # fmt: skip
        costs = [_mean([ratio(own, base, cost)], '.2f') for cost in COSTS]
        kept = [f'{_of(own, state, RETAIN):.1f}' for state in ('start', 'learn_end')]
        missed = '; '.join(misses(own, base))
        lines.append([*key, *kept, ends, *gaps, *others, *costs, len(own), missed])
    head = [
        'benchmark', 'objective', 'retain before', 'after learning', 'learn / forget / retain',
        'gap at the head', 'gap over layers', 'relearning', 'from prototypes', 'total variation',
        'time', 'memory', 'seeds', 'missed',
    ]  # fmt: skip
    return markdown_table(head, lines)


def reference_table(cards: Sequence[Row]) -> str:
    """A line a benchmark: its references, and what speaks against them as a floor."""
    lines = []
    for name in dict.fromkeys(card['benchmark'] for card in cards):
        own = [card for card in cards if card['benchmark'] == name]
        kept = [card['retain'] for card in own]
        gained = [card['gained_at_the_end'] for card in own]
        doubts = [f'seed {card["seed"]}: no plateau' for card in own if not card['converged']]
        if max(kept) - min(kept) > RANGE:
            doubts.append(f'retain differs by {max(kept) - min(kept):.1f} > {RANGE:g}')
        shown = [', '.join('-' if v is None else f'{v:.1f}' for v in values)
                 for values in ([card['learn'] for card in own], kept, gained)]  # fmt: skip
        lines.append([name, *shown, '; '.join(doubts)])
    head = ['benchmark', 'learn', 'retain', 'gained in the last quarter', 'doubts']
    return markdown_table(head, lines)


def _of(rows: Sequence[Row], state: str, role: str) -> float:
    return statistics.mean(row[state][role] for row in rows)


def _mean(values: Sequence[float | None], form: str = '+.1f') -> str:
    known = [value for value in values if value is not None]
    return format(statistics.mean(known), form) if known else '-'
