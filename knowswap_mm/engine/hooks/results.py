"""Hooks that show what became of a run: its audit, images of samples, its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook

from knowswap_mm.checks import check_flag, check_texts, check_whole
from knowswap_mm.datasets import RoleDataset
from knowswap_mm.engine.hooks.phase import PhaseHook
from knowswap_mm.registry import HOOKS
from knowswap_mm.runs.files import AUDIT_FOLDER
from knowswap_mm.runs.record import RunLog
from knowswap_mm.runs.results import START


@HOOKS.register_module()
class AuditHook(Hook):
    """Audits the model when the swap is done, as its merged export would be audited.

    Page and json are written to ``<work_dir>/audit``. One process works, the others wait.

    Args:
        references (Sequence[str]): Files of models that were trained without the forget set.
        auditor (Mapping | None): Config of the auditor; the config's ``audit`` by default.
    """

    priority = 'VERY_LOW'

    def __init__(
        self, references: Sequence[str] = (), auditor: Mapping[str, Any] | None = None
    ) -> None:
        key = 'custom_hooks.AuditHook'
        check_texts(f'{key}.references', references, 'retrained.pth')
        from knowswap_mm.audit.auditor import build_auditor

        if auditor is not None:
            build_auditor(auditor, f'{key}.auditor')  # wrong ones are told before the training
        self.references, self.auditor = list(references), auditor

    def after_train(self, runner: Any) -> None:
        """Audit, unless the run ended early."""
        if runner.iter < runner.swap_schedule.total:
            return
        if is_main_process():
            from knowswap_mm.audit.auditor import build_auditor

            auditor = build_auditor(self.auditor or runner.cfg.get('audit'))
            auditor.progress.say = runner.logger.info
            report = auditor.audit(runner.cfg, runner.swapper, self.references)
            page = report.write(Path(runner.work_dir) / AUDIT_FOLDER)
            runner.logger.info(f'{report.headline()} The audit is in {page}.')
        barrier()


@HOOKS.register_module(name=['RoleImagesHook', 'RolePicturesHook'])
class RoleImagesHook(Hook):
    """Draws what the model says of a few fixed validation samples of each role.

    At the start, after each phase, and, if asked for, at every evaluation between. The images
    are stored in ``<work_dir>/pictures`` for the report, and handed to the backends of the
    visualizer (TensorBoard and others) as ``<role>_<number>``. One process draws. Images are
    worth no run: if they cannot be drawn, the log has a warning and training goes on. Configs may
    also say ``RolePicturesHook``, its name before issue 25.

    Args:
        samples (int): Samples a role.
        every_evaluation (bool): Whether evaluations inside a phase are drawn, too.

    Raises:
        ConfigError: If ``samples`` is no integer from 1 on.
    """

    #: Before a hook takes the weights out again that it put in for the evaluation (EMAHook).
    priority = 'VERY_HIGH'

    def __init__(self, samples: int = 4, every_evaluation: bool = False) -> None:
        check_whole('custom_hooks.RoleImagesHook.samples', samples, 1, 4)
        check_flag('custom_hooks.RoleImagesHook.every_evaluation', every_evaluation)
        self.samples, self.every_evaluation = samples, every_evaluation
        self._failed = False

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw, if the state that was evaluated is one to be shown."""
        schedule = runner.swap_schedule
        if schedule is None or self._failed or not is_main_process():
            return
        ends = {0: START} | {phase.end: phase.name for phase in schedule.phases}
        state = ends.get(runner.iter)
        if state is None and not self.every_evaluation:
            return
        dataset = runner.val_dataloader.dataset
        if not isinstance(dataset, RoleDataset):
            return
        if undrawn := [type(v).__name__ for v in dataset.views.values() if v.drawer is None]:
            self._give_up(runner, f'{undrawn[0]} names no drawer')
            return
        try:
            self._draw(runner, state or f'iteration_{runner.iter}')
        except Exception as error:  # whatever it is, the run is worth more
            self._give_up(runner, f'{type(error).__name__}: {error}')

    def _draw(self, runner: Any, state: str) -> None:
        from knowswap_mm.visualization.images.samples import SampleImages

        images = SampleImages(runner.val_dataloader, runner.work_dir, self.samples)
        training = runner.swapper.training
        runner.swapper.eval()
        try:
            for name, drawing in images.draw(runner.swapper, state, runner.iter):
                runner.visualizer.add_image(name, drawing.image, step=runner.iter)
        finally:
            runner.swapper.train(training)

    def _give_up(self, runner: Any, why: str) -> None:
        self._failed = True
        runner.logger.warning(f'No images of predictions are drawn: {why}')


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes ``report.html``, ``report.md`` and ``report.json`` when the run ends.

    A run that was stopped has one, too, if it was evaluated before; not with several processes,
    where the others would not wait for it. The hook also notes command, machine, time and memory
    in ``starts.json``. ``knowswap report WORK_DIR`` makes the report again from the files of the
    run. A report is worth no run: if it cannot be written, the log has a warning.
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

    def after_stop(self, runner: Any, ending: dict[str, Any]) -> None:
        """Note why the run ended, and write the report of what there is."""
        if self._log is not None:
            self._guarded(runner, 'The end was not noted', lambda _: self._log.end(ending))
        evaluated = any(isinstance(h, PhaseHook) and h.results.states for h in runner.hooks)
        if evaluated and not runner.distributed:
            self._guarded(runner, 'The report was not written', self._make)

    def _begin(self, runner: Any) -> None:
        self._log = RunLog(runner.work_dir)
        self._log.begin(runner.iter, runner.world_size)

    def _write(self, runner: Any) -> None:
        if self._log is not None:
            self._log.end()
        self._make(runner)

    @staticmethod
    def _make(runner: Any) -> None:
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
