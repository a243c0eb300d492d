"""What a run left in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import ROLES
from knowswap_mm.runs.files import (
    AUDIT_FILE,
    AUDIT_FOLDER,
    CONFIGS,
    IMAGES_FILE,
    IMAGES_FOLDER,
    PROFILE_FILE,
    RECORD_FILE,
    RESULTS_FILE,
    SCALARS,
    SCHEDULE_FILE,
    STARTS_FILE,
)
from knowswap_mm.runs.plan import Plan
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.schedule import Decision
from knowswap_mm.schedule.phase import PHASE_KINDS, phase_name


def read_schedule(folder: Path) -> dict[str, Any]:
    """Read the ``phases`` (``index``, ``kind``, ...) and ``classes`` (names by role) of a run.

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


def _is_decision(value: Any) -> bool:
    try:
        return Decision.from_dict(value) is not None
    except ConfigError:
        return False


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


@dataclass
class ScalarLog:
    """Lines of mmengine's ``scalars.json``, over all starts of a run.

    Attributes:
        training (list[dict]): Lines of the training, with ``step``.
        evaluations (list[dict]): Lines of evaluations, with ``step``.
    """

    training: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of_run(cls, folder: Path) -> ScalarLog:
        """Join the files of all starts in a work dir; a resumed run replaces what it repeats."""
        log = cls()
        for path in sorted(Path(folder).glob(SCALARS)):
            lines = list(_lines(path))
            training = [line for line in lines if 'iter' in line]
            evaluations = [line for line in lines if 'iter' not in line]
            for old, new in ((log.training, training), (log.evaluations, evaluations)):
                begin = min((line['step'] for line in new), default=float('inf'))
                old[:] = [line for line in old if line['step'] < begin] + new
        return log

    def curve(self, key: str) -> list[tuple[int, float]]:
        """A value of the training over the iterations."""
        return [(line['step'], line[key]) for line in self.training if _is_number(line.get(key))]

    def keys(self, prefix: str) -> list[str]:
        """Names of logged values that begin so, in the order in which they first came."""
        found: dict[str, None] = {}
        for line in self.training:
            found.update(dict.fromkeys(key for key in line if key.startswith(prefix)))
        return list(found)

    def evaluated(self, key: str) -> list[tuple[int, float]]:
        """A metric over the iterations."""
        return [(line['step'], line[key]) for line in self.evaluations if _is_number(line.get(key))]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    for text in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # the last line of a run that was killed
            continue
        if isinstance(line, dict) and isinstance(line.get('step'), int):
            yield line


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == value and abs(value) != float('inf')


def read_run_log(folder: str | Path) -> list[dict[str, Any]]:
    """Entries of :class:`~knowswap_mm.runs.record.RunLog`; none if there is no whole file."""
    try:
        found = json.loads((Path(folder) / STARTS_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


class RunFolder:
    """Reads the files of a run; none of them is executed, and all but the results may be missing.

    Args:
        folder (str | Path): Work dir of the run.

    Attributes:
        results (SwapResults): Metrics at the start and after each phase.
        phases (list[dict]): The phases of the schedule.
        seed (int | None): Seed of the run.
        problems (list[str]): Files that are there but cannot be read.

    Raises:
        ConfigError: If the folder holds no results of a swap.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.problems: list[str] = []
        path = self.folder / RESULTS_FILE
        fix = 'name the work dir of a swap that was evaluated at least once'
        if not path.is_file():
            raise ConfigError('WORK_DIR', str(folder), f'there is no {RESULTS_FILE} in it', fix)
        try:
            data = json.loads(path.read_text(encoding='utf-8'))
            self.results = SwapResults.read(path)
            self._schedule: dict[str, Any] = data['schedule']
            self.phases: list[dict[str, Any]] = [
                dict(phase, name=phase_name(phase['index'], phase['kind']))
                for phase in self._schedule['phases']
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f'{RESULTS_FILE} cannot be read ({type(error).__name__}: {error})'
            raise ConfigError('WORK_DIR', str(folder), problem, fix) from None
        self.seed = data.get('seed')

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Class names by role."""
        found = (self._json(self.folder / SCHEDULE_FILE) or {}).get('classes', {})
        return {role: [str(name) for name in found.get(role, ())] for role in ROLES}

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """What the run decided while it ran, see :class:`~knowswap_mm.schedule.Decision`."""
        found = self._schedule.get('decisions')
        return [each for each in found if _is_decision(each)] if isinstance(found, list) else []

    @property
    def total(self) -> int:
        """Iterations of the whole schedule."""
        return max((phase['begin'] + phase['length'] for phase in self.phases), default=0)

    @property
    def finished(self) -> bool:
        """Whether the last phase was evaluated."""
        return bool(self.phases) and self.phases[-1]['name'] in self.results.states

    @property
    def ending(self) -> dict[str, Any] | None:
        """Why the last start of the run ended before the swap was done, as it was noted.

        ``iteration``, ``reason`` and ``change``; None if it was done, or nothing was noted.
        """
        found = self.log[-1].get('ended') if self.log else None
        known = isinstance(found, dict) and type(found.get('iteration')) is int
        return found if known and not self.finished else None

    @cached_property
    def scalars(self) -> ScalarLog:
        """What was logged."""
        return ScalarLog.of_run(self.folder)

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """Command, machine, time and memory of each start of the run."""
        return [entry for entry in read_run_log(self.folder) if isinstance(entry, dict)]

    @cached_property
    def record(self) -> dict[str, Any]:
        """What :class:`~knowswap_mm.runs.record.RunRecord` wrote; empty without it."""
        return self._json(self.folder / RECORD_FILE) or {}

    @cached_property
    def counts(self) -> dict[str, dict[str, Any]]:
        """Training samples by role and class, see :func:`role_counts`."""
        found = self.record.get('roles')
        return found if isinstance(found, dict) else {}

    @cached_property
    def plan(self) -> Plan:
        """The numbers of the recipe; empty if nothing was left to it."""
        return Plan.read(self.record.get('plan'))

    @cached_property
    def profile(self) -> dict[str, Any] | None:
        """The profile over the transformer blocks."""
        found = self._json(self.folder / PROFILE_FILE)
        return found if found and found.get('phases') else None

    @cached_property
    def images(self) -> dict[str, Any] | None:
        """The index of the images of samples."""
        found = self._json(self.folder / IMAGES_FOLDER / IMAGES_FILE)
        return found if found and found.get('states') else None

    @cached_property
    def audits(self) -> dict[str, dict[str, Any]]:
        """Audits by their place in the folder."""
        paths = sorted(self.folder.glob(f'{AUDIT_FOLDER}/**/{AUDIT_FILE}'))
        found = {str(path.parent.relative_to(self.folder)): self._json(path) for path in paths}
        return {name: audit for name, audit in found.items() if audit and 'headline' in audit}

    @cached_property
    def config(self) -> str | None:
        """Text of the config, as it was when the run began last.

        That is the file that the run names. Tests leave newer ones in folders of their own.
        """
        named = self.folder / Path(str(self.record.get('config'))).name
        if named.suffix == '.py' and named.is_file():
            return named.read_text(encoding='utf-8', errors='replace')
        for pattern in CONFIGS:
            if paths := sorted(self.folder.glob(pattern)):
                return paths[-1].read_text(encoding='utf-8', errors='replace')
        return None

    def _json(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
            if isinstance(found, dict):
                return found
            problem = 'holds no object'
        except (OSError, ValueError) as error:
            problem = f'cannot be read ({error})'
        self.problems.append(f'{path.relative_to(self.folder)} {problem}')
        return None
