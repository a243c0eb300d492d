"""Lets every process of a run say with which weights it ended."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from knowswap_mm.registry import HOOKS


@HOOKS.register_module()
class RankDigestHook(Hook):
    """Writes a hash of all weights into ``digest_rank<n>.txt`` of the run's folder."""

    def after_train(self, runner: Runner) -> None:
        """Hash and write.

        Args:
            runner (Runner): The runner.
        """
        digest = hashlib.sha256()
        for name, tensor in runner.swapper.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        target = Path(runner.work_dir) / f'digest_rank{get_rank()}.txt'
        target.write_text(digest.hexdigest() + '\n')
