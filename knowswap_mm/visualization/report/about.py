"""What a run was of: model, data and date, for the top of its page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from knowswap_mm.runs.reader import RunFolder

#: What a user calls the entries that :class:`~knowswap_mm.runs.record.RunRecord` keeps.
_NAMES = dict(model='Model', weights='Weights', data='Data')


def about_run(record: RunFolder) -> dict[str, str]:
    """Lines by name; what the files do not tell is left out."""
    given = record.record.get('about')
    given = given if isinstance(given, dict) else {}
    lines = {
        name: given[key]
        for key, name in _NAMES.items()
        if isinstance(given.get(key), str) and given[key]
    }
    if not lines and isinstance(record.record.get('config'), str):  # runs of before issue 28
        lines['Config'] = record.record['config']
    if words := _numbers(record):
        lines['Classes'] = words
    if dates := _dates(record.log):
        lines['Date'] = dates
    return lines


def _numbers(record: RunFolder) -> str:
    words = []
    for role, names in record.classes.items():
        found = record.counts.get(role)
        samples = found.get('samples') if isinstance(found, dict) else None
        images = f' ({samples:,} training images)' if type(samples) is int else ''
        if names:
            words.append(f'{len(names)} {role}{images}')
    return ', '.join(words)


def _dates(log: list[dict[str, Any]]) -> str:
    if not log:
        return ''
    text = str(log[-1].get('started'))
    try:
        text = datetime.fromisoformat(text).strftime('%Y-%m-%d %H:%M %z').strip()
    except ValueError:
        return ''
    if len(log) > 1:
        return f'{text}, the last of {len(log)} starts'
    seconds = log[-1].get('seconds')
    known = isinstance(seconds, (int, float)) and 0 <= seconds < 1e9
    return f'{text}, took {timedelta(seconds=round(seconds))}' if known else text
