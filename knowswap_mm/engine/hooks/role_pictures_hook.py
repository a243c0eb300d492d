"""Pictures of predictions by role."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.engine.swap_results import START
from knowswap_mm.registry import HOOKS
from knowswap_mm.value_checks import check_flag, check_whole


@HOOKS.register_module()
class RolePicturesHook(Hook):
    """Draws what the model says of a few fixed validation samples of each role.

    At the start, after each phase, and, if asked for, at every evaluation between. The pictures
    are stored in ``<work_dir>/pictures`` for the report, and handed to the backends of the
    visualizer (TensorBoard and others) as ``<role>_<number>``. One process draws. Pictures are
    worth no run: if they cannot be drawn, the log has a warning and training goes on.

    Args:
        samples (int): Samples a role.
        every_evaluation (bool): Whether evaluations inside a phase are drawn, too.

    Raises:
        ConfigError: If ``samples`` is no whole number from 1 on.
    """

    #: Before a hook takes the weights out again that it put in for the evaluation (EMAHook).
    priority = 'VERY_HIGH'

    def __init__(self, samples: int = 4, every_evaluation: bool = False) -> None:
        check_whole('custom_hooks.RolePicturesHook.samples', samples, 1, 4)
        check_flag('custom_hooks.RolePicturesHook.every_evaluation', every_evaluation)
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
        from knowswap_mm.visualization.pictures import SamplePictures

        pictures = SamplePictures(runner.val_dataloader, runner.work_dir, self.samples)
        training = runner.swapper.training
        runner.swapper.eval()
        try:
            for name, drawing in pictures.draw(runner.swapper, state, runner.iter):
                runner.visualizer.add_image(name, drawing.image, step=runner.iter)
        finally:
            runner.swapper.train(training)

    def _give_up(self, runner: Any, why: str) -> None:
        self._failed = True
        runner.logger.warning(f'No pictures of predictions are drawn: {why}')
