"""The schedule in a run's folder, as it is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knowswap_mm.errors import FileError
from knowswap_mm.json_file import read_json
from knowswap_mm.roles import ROLES
from knowswap_mm.schedule.swap_phase import PHASE_KINDS

SCHEDULE_FILE = 'schedule.json'


def read_schedule(folder: Path) -> dict[str, Any]:
    """Read the file that a run wrote.

    Args:
        folder (Path): The folder of the run.

    Returns:
        dict: ``phases`` (each with ``index`` and ``kind``) and ``classes`` (names by role), at
        least.

    Raises:
        FileError: If it is missing, damaged, or something else.
    """
    path = folder / SCHEDULE_FILE
    found = read_json(path)
    phases = found.get('phases') if isinstance(found, dict) else None
    classes = found.get('classes') if isinstance(found, dict) else None
    if not isinstance(phases, list) or not phases or not all(map(_is_phase, phases)):
        raise FileError(path, 'has no list of phases', 'run `knowswap train` in this folder again')
    if not isinstance(classes, dict) or not all(_is_names(classes.get(role)) for role in ROLES):
        raise FileError(path, 'has no classes by role', 'run `knowswap train` in this folder again')
    return found


def _is_phase(value: Any) -> bool:
    if not isinstance(value, dict) or type(value.get('index')) is not int:
        return False
    return isinstance(value.get('kind'), str) and value['kind'] in PHASE_KINDS


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
