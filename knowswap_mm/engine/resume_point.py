"""What a run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from knowswap_mm.engine.latest_checkpoint import CHECKPOINTS, read_latest
from knowswap_mm.engine.launch import process_name
from knowswap_mm.engine.process_group import of_rank_0
from knowswap_mm.engine.run_record import RECORD_FILE
from knowswap_mm.engine.shared_files import check_no_other_has
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
      itself, whatever the config says. It is known by its launch, by a process that is not this
      one, and by the same config and seed.

    Args:
        folder (str | Path): The work dir.
        resume (bool | str): As above.
        load_from (str | None): The weights that the config names.
        launches (Iterable[str]): Names of the launch, see :func:`launch_names`.
        config (str | None): Hash of the config.

    Attributes:
        path (str | None): The file to read; None if there is none.
        resumes (bool): Whether it is the state of a run, not weights to begin with.
        missing (bool): Whether a checkpoint was looked for and there was none.

    Raises:
        ConfigError: If ``resume`` is something else.
        CheckpointError: If there are checkpoints, but none of them is whole; if rank 0 alone has
            none; or if the config of a launch was changed before it was started again.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        resume: bool | str,
        load_from: str | None,
        launches: Iterable[str] = (),
        config: str | None = None,
    ) -> None:
        if not isinstance(resume, (bool, str)):
            fix = "use 'auto', the path of a checkpoint, or False"
            raise ConfigError('resume', resume, 'neither a path nor a choice', fix)
        self.folder = Path(folder)
        self.path, self.resumes, self.missing = load_from, False, False
        self._content: dict[str, Any] | None = None
        self._launches, self._config = set(launches), config
        # torchrun's own count says nothing: it is that of a machine, and a run whose machines
        # change is not counted at all.
        if self._launches and self._look(own=True):
            return
        if isinstance(resume, str) and resume != AUTO:
            self.path, self.resumes = resume, True
        elif resume is True and load_from is not None:
            self.resumes = True
        elif resume:
            self.missing = not self._look()
            if self.missing:
                check_no_other_has(self.folder, CHECKPOINTS)

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
        if own and not self._wrote(record):
            return None, None  # it was stopped before it began; what is here is older
        run = record.get('run')
        found = read_latest(self.folder, run if isinstance(run, str) else None)
        if own and found is not None:
            seeds = record.get('seed'), (found[1].get('meta') or {}).get('seed')
            if seeds[0] != seeds[1] or found[1]['swap'].get('run') != run:
                return None, None
            if record.get('config_sha256') != self._config:
                raise CheckpointError(
                    f'{self.folder}: the config was changed since this run began, and torchrun '
                    f'starts it again. Fix: to go on from {found[0].name} with the new config, '
                    'start it with --resume; to begin anew, give another work_dir.'
                )
        return (None, None) if found is None else (str(found[0]), found[1])

    def _wrote(self, record: Mapping[str, Any]) -> bool:
        """Whether an earlier start of this launch wrote the files of the folder."""
        launches = record.get('launches')
        if not isinstance(launches, list) or not self._launches.intersection(map(str, launches)):
            return False
        return record.get('process') != process_name()  # else it is the same one, a second time


def _read_record(folder: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
