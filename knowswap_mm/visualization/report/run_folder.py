"""What a run left in its folder."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from knowswap_mm.engine.block_profile import PROFILE_FILE
from knowswap_mm.engine.hooks.phase_hook import RESULTS_FILE
from knowswap_mm.engine.run_log import read_run_log
from knowswap_mm.engine.run_record import RECORD_FILE
from knowswap_mm.engine.swap_results import SwapResults
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import ROLES
from knowswap_mm.visualization.report.scalar_log import ScalarLog

_SCHEDULE_FILE, _RECORD_FILE = 'schedule.json', 'run.json'


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
            self.phases: list[dict[str, Any]] = [
                dict(phase, name=f'phase{phase["index"] + 1}_{phase["kind"]}')
                for phase in data['schedule']['phases']
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f'{RESULTS_FILE} cannot be read ({type(error).__name__}: {error})'
            raise ConfigError('WORK_DIR', str(folder), problem, fix) from None
        self.seed = data.get('seed')

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Class names by role."""
        found = (self._json(self.folder / _SCHEDULE_FILE) or {}).get('classes', {})
        return {role: [str(name) for name in found.get(role, ())] for role in ROLES}

    @property
    def total(self) -> int:
        """Iterations of the whole schedule."""
        return max((phase['begin'] + phase['length'] for phase in self.phases), default=0)

    @property
    def finished(self) -> bool:
        """Whether the last phase was evaluated."""
        return bool(self.phases) and self.phases[-1]['name'] in self.results.states

    @cached_property
    def scalars(self) -> ScalarLog:
        """What was logged."""
        return ScalarLog.of_run(self.folder)

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """Command, machine, time and memory of each start of the run."""
        return [entry for entry in read_run_log(self.folder) if isinstance(entry, dict)]

    @cached_property
    def counts(self) -> dict[str, dict[str, Any]]:
        """Training samples by role and class, see :func:`role_counts`."""
        found = (self._json(self.folder / RECORD_FILE) or {}).get('roles')
        return found if isinstance(found, dict) else {}

    @cached_property
    def profile(self) -> dict[str, Any] | None:
        """The profile over the transformer blocks."""
        found = self._json(self.folder / PROFILE_FILE)
        return found if found and found.get('phases') else None

    @cached_property
    def pictures(self) -> dict[str, Any] | None:
        """The index of the pictures of samples."""
        found = self._json(self.folder / 'pictures' / 'pictures.json')
        return found if found and found.get('states') else None

    @cached_property
    def audits(self) -> dict[str, dict[str, Any]]:
        """Audits by their place in the folder."""
        paths = sorted(self.folder.glob('audit/**/audit.json'))
        found = {str(path.parent.relative_to(self.folder)): self._json(path) for path in paths}
        return {name: audit for name, audit in found.items() if audit and 'headline' in audit}

    @cached_property
    def config(self) -> str | None:
        """Text of the config, as it was when the run began last."""
        for pattern in ('*/vis_data/config.py', '*.py'):
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
