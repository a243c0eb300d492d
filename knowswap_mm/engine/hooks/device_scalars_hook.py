"""Logging without waiting for the device."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import LoggerHook, RuntimeInfoHook

from knowswap_mm.engine.device_scalars import DeviceScalars
from knowswap_mm.registry import HOOKS


@HOOKS.register_module()
class DeviceScalarsHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, but the terms of the loss stay on the device until needed.

    They are fetched, all in one copy, when a :class:`LoggerHook` is about to log and whenever else
    somebody reads them: for a checkpoint, in another hook. What is logged and saved is the same.
    Put it in the place of the other one::

        default_hooks = dict(runtime_info=dict(type='knowswap_mm.DeviceScalarsHook'))

    The host then runs ahead of the device between two log steps. ``time`` and ``data_time`` of an
    iteration are times of the host; the step that logs waits for the device and has the rest.
    """

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Take the terms over."""
        scalars = DeviceScalars.of(runner.message_hub)
        if outputs is not None:
            scalars.add({f'train/{key}': value for key, value in outputs.items()})
        # Before the timer looks at the clock: the wait belongs to the time of this iteration, not
        # to the loading of the next batch.
        if any(_logs_now(hook, batch_idx) for hook in runner.hooks):
            scalars.fetch()

    def after_train(self, runner: Any) -> None:
        """Leave nothing on the device."""
        super().after_train(runner)
        DeviceScalars.of(runner.message_hub).fetch()


def _logs_now(hook: Any, batch_idx: int) -> bool:
    return isinstance(hook, LoggerHook) and hook.every_n_inner_iters(batch_idx, hook.interval)
