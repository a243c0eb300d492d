"""Metrics of single classes."""

from __future__ import annotations

from collections import Counter

from knowswap_mm.visualization.report.run_folder import RunFolder


def class_values(record: RunFolder, role: str) -> tuple[str, dict[str, dict[str, float]]]:
    """The metric that a role has of its classes, whatever the task calls it.

    It is the one with a value for the most classes among the names that hold a class: with the
    class ``bag``, ``class/bag`` and ``coco/bag_precision`` are such names.

    Args:
        record (RunFolder): The run.
        role (str): The role.

    Returns:
        tuple[str, dict]: Name of the metric with ``*`` for the class, and by class its value in
        each state in percent; empty if there is none.
    """
    states = record.results.states
    prefix = f'{role}/'
    keys = {key for entry in states.values() for key in entry['metrics'] if key.startswith(prefix)}
    names = record.classes[role]
    patterns: Counter[tuple[str, str]] = Counter()
    for key in keys:
        for name in names:
            before, found, after = key.rpartition(name)
            # A class may be called as a part of another one, or of the metric.
            if found and before.endswith('/') and (not after or after[0] in '_/'):
                patterns[before, after] += 1
    if not patterns:
        return '', {}
    (before, after), _ = max(patterns.items(), key=lambda item: (item[1], item[0]))
    values: dict[str, dict[str, float]] = {}
    for name in names:
        for state, entry in states.items():
            value = entry['metrics'].get(f'{before}{name}{after}')
            if value is not None:
                values.setdefault(name, {})[state] = 100 * value / record.results.scale
    return f'{before}*{after}'.removeprefix(prefix), values
