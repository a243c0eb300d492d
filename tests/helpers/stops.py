"""A hook that interrupts a run."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(name='tests.helpers.stops.StopAt')
class StopAt(Hook):
    """Raises ``KeyboardInterrupt`` before an iteration, as Ctrl-C does."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt
