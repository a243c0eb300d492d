"""What became of a run, in words on the console."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process

from knowswap_mm.errors import PhaseError
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.story import Story


def say(runner: Any, ending: dict[str, Any] | None = None) -> None:
    """Log what became of each role and what to change; it fails no run.

    Args:
        runner (Any): The runner, whose folder has the results of this run.
        ending (dict | None): Why it ended before it was done, see :class:`Story`.
    """
    if not is_main_process():
        return
    try:
        lines = Story(RunFolder(runner.work_dir), ending).lines()
    except Exception as error:  # whatever it is, the run is worth more
        runner.logger.warning(f'No words about the run ({type(error).__name__}: {error}).')
        return
    runner.logger.info('\n'.join(lines))


def ending_of(iteration: int, error: PhaseError) -> dict[str, Any]:
    """The ending of a run that an error stopped after so many iterations."""
    reason, _, change = str(error).partition(' Fix: ')
    return dict(iteration=iteration, reason=reason.rstrip('.'), change=change.rstrip('.'))
