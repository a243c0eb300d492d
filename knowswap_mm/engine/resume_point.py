"""What a run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from knowswap_mm.engine.latest_checkpoint import read_latest
from knowswap_mm.engine.process_group import of_rank_0
from knowswap_mm.engine.run_record import RECORD_FILE, launch_name
from knowswap_mm.errors import CheckpointError, ConfigError

#: ``resume`` of a config: go on from the latest checkpoint of the work dir if there is one.
AUTO = 'auto'


class ResumePoint:
    """Finds the checkpoint with which a run begins; all processes take that of the first one.

    - ``resume = 'auto'`` takes the latest one of the work dir that is whole and of the run that was
      started there last. If there is none, the run begins with ``load_from``.
    - ``resume = 'iter_500.pth'`` takes that one.
    - ``resume = True`` is mmengine's: the one in ``load_from``, or without it as ``'auto'``.
    - A run that torchrun started again (``--max-restarts``) takes the latest one that it wrote
      itself, whatever the config says.

    Args:
        folder (str | Path): The work dir.
        resume (bool | str): As above.
        load_from (str | None): The weights that the config names.

    Attributes:
        path (str | None): The file to read; None if there is none.
        resumes (bool): Whether it is the state of a run, not weights to begin with.
        missing (bool): Whether a checkpoint was looked for and there was none.

    Raises:
        ConfigError: If ``resume`` is something else.
        CheckpointError: If there are checkpoints, but none of them is whole.
    """

    def __init__(
        self, folder: str | os.PathLike, resume: bool | str, load_from: str | None
    ) -> None:
        if not isinstance(resume, (bool, str)):
            fix = "use 'auto', the path of a checkpoint, or False"
            raise ConfigError('resume', resume, 'neither a path nor a choice', fix)
        self.folder = Path(folder)
        self.path, self.resumes, self.missing = load_from, False, False
        self._content: dict[str, Any] | None = None
        # Counted for each machine: all processes must go the same way.
        restarted = of_rank_0(int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0))) > 0
        if restarted and self._look(own=True):
            return
        if isinstance(resume, str) and resume != AUTO:
            self.path, self.resumes = resume, True
        elif resume is True and load_from is not None:
            self.resumes = True
        elif resume:
            self.missing = not self._look()

    def read(self, path: str) -> dict[str, Any] | None:
        """The contents of the file, once, if it had to be read to be found."""
        content, self._content = self._content, None
        return content if path == self.path else None

    def _look(self, own: bool = False) -> bool:
        found, problem = None, None
        if is_main_process():
            try:
                found, self._content = self._latest(own)
            except CheckpointError as error:
                problem = str(error)
        found, problem = of_rank_0((found, problem))
        if problem is not None:
            raise CheckpointError(problem)
        if found is not None:
            self.path, self.resumes = found, True
        return found is not None

    def _latest(self, own: bool) -> tuple[str | None, dict[str, Any] | None]:
        record = _read_record(self.folder)
        if own and record.get('launch') != launch_name():
            return None, None  # it was stopped before it began; what is here is older
        run = record.get('run')
        found = read_latest(self.folder, run if isinstance(run, str) else None)
        return (None, None) if found is None else (str(found[0]), found[1])


def _read_record(folder: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
