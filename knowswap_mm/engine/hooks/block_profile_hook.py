"""Where learning and forgetting happen."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from knowswap_mm.engine.block_profile import BlockProfile
from knowswap_mm.lora.block_norms import BlockNorms
from knowswap_mm.registry import HOOKS
from knowswap_mm.value_checks import check_whole


@HOOKS.register_module()
class BlockProfileHook(Hook):
    """Follows gradients and adapters of each transformer block, phase by phase.

    The result is ``block_profile.json`` in the work dir, which :class:`BlockProfile` describes;
    ``knowswap block-profile`` and the report draw it. The gradients are those with
    which the optimizer steps: averaged over the processes, and clipped if the config clips. Each
    step is counted, and none of it waits for the device before a phase ends. A model without
    adapters has no profile.

    Args:
        parts (int): A phase is cut into so many parts of equal length, to see movement in it.

    Raises:
        ConfigError: If ``parts`` is no whole number from 1 on.
    """

    #: Before the checkpoint of the iteration is written, which holds the profile.
    priority = 'NORMAL'

    def __init__(self, parts: int = 4) -> None:
        check_whole('custom_hooks.BlockProfileHook.parts', parts, 1, 4)
        self.parts = parts
        self.profile: BlockProfile | None = None
        self._resumed: dict[str, Any] | None = None
        self._watch: Any = None

    def before_train(self, runner: Any) -> None:
        """Find the blocks, and listen to the optimizer."""
        if not runner.swapper.adapters:
            return
        norms = BlockNorms(runner.swapper.host, runner.swapper.adapter_name)
        self.profile = BlockProfile(norms, self.parts)
        if self._resumed is not None:
            self.profile.load_state_dict(self._resumed)
            self._resumed = None
        optimizer = runner.optim_wrapper.optimizer
        self._watch = optimizer.register_step_pre_hook(lambda *_: self.profile.step(runner.iter))

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Open the phase; one that a resumed run has not watched from its begin as well."""
        if self.profile is not None:
            self.profile.begin(runner.swap_schedule.phase_at(runner.iter))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Measure the adapter at the end of a part, and write at the end of a phase."""
        if self.profile is None or not self.profile.end_iteration(runner.iter + 1):
            return
        if is_main_process():
            self.profile.write(runner.work_dir)

    def after_train(self, runner: Any) -> None:
        """Listen no more."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the profile into the checkpoint."""
        if self.profile is not None:
            checkpoint['block_profile'] = self.profile.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the profile of the run that is resumed until the blocks are known."""
        if runner._resume and 'block_profile' in checkpoint:
            self._resumed = checkpoint['block_profile']
