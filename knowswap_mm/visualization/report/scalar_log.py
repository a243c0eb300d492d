"""The numbers that a run logged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
        """Join the files of all starts; a resumed run replaces what it repeats.

        Args:
            folder (Path): Work dir of the run.
        """
        log = cls()
        for path in sorted(Path(folder).glob('*/vis_data/scalars.json')):
            lines = list(_lines(path))
            training = [line for line in lines if 'iter' in line]
            evaluations = [line for line in lines if 'iter' not in line]
            for old, new in ((log.training, training), (log.evaluations, evaluations)):
                begin = min((line['step'] for line in new), default=float('inf'))
                old[:] = [line for line in old if line['step'] < begin] + new
        return log

    def curve(self, key: str) -> list[tuple[int, float]]:
        """A value of the training over the iterations.

        Args:
            key (str): Its name.
        """
        return [(line['step'], line[key]) for line in self.training if _is_number(line.get(key))]

    def keys(self, prefix: str) -> list[str]:
        """Names of logged values, in the order in which they first came.

        Args:
            prefix (str): Begin of the names.
        """
        found: dict[str, None] = {}
        for line in self.training:
            found.update(dict.fromkeys(key for key in line if key.startswith(prefix)))
        return list(found)

    def evaluated(self, key: str) -> list[tuple[int, float]]:
        """A metric over the iterations.

        Args:
            key (str): Its name.
        """
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
