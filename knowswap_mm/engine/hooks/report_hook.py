"""The report at the end of training."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from knowswap_mm.engine.run_log import RunLog
from knowswap_mm.registry import HOOKS


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes ``report.html``, ``report.md`` and ``report.json`` when the swap is done.

    It also notes command, machine, time and memory in ``starts.json``.
    ``knowswap report WORK_DIR`` makes the report again from the files of the run. A
    report is worth no run: if it cannot be written, the log has a warning.
    """

    #: After an audit at the end, whose results belong to the report.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._log: RunLog | None = None

    def before_train(self, runner: Any) -> None:
        """Note what runs, and where."""
        if is_main_process():
            self._guarded(runner, 'The run was not noted', self._begin)

    def after_train(self, runner: Any) -> None:
        """Write the report, unless the run ended early."""
        if is_main_process() and runner.iter >= runner.swap_schedule.total:
            self._guarded(runner, 'The report was not written', self._write)

    def _begin(self, runner: Any) -> None:
        self._log = RunLog(runner.work_dir)
        self._log.begin(runner.iter, runner.world_size)

    def _write(self, runner: Any) -> None:
        if self._log is not None:
            self._log.end()
        from knowswap_mm.visualization.report import Report

        page = Report.of_run(runner.work_dir).write()
        runner.logger.info(f'The report is {page}.')

    @staticmethod
    def _guarded(runner: Any, failed: str, action: Any) -> None:
        try:
            action(runner)
        except Exception as error:  # whatever it is, the run is worth more
            runner.logger.warning(
                f'{failed} ({type(error).__name__}: {error}). The run itself is whole. Try '
                f'`knowswap report {runner.work_dir}`.'
            )
