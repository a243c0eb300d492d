"""An audit at the end of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook

from knowswap_mm.registry import HOOKS
from knowswap_mm.value_checks import check_texts


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
        from knowswap_mm.evaluation.audit.auditor import build_auditor

        if auditor is not None:
            build_auditor(auditor, f'{key}.auditor')  # wrong ones are told before the training
        self.references, self.auditor = list(references), auditor

    def after_train(self, runner: Any) -> None:
        """Audit, unless the run ended early."""
        if runner.iter < runner.swap_schedule.total:
            return
        if is_main_process():
            from knowswap_mm.evaluation.audit.auditor import build_auditor

            auditor = build_auditor(self.auditor or runner.cfg.get('audit'))
            report = auditor.audit(runner.cfg, runner.swapper, self.references)
            page = report.write(Path(runner.work_dir) / 'audit')
            runner.logger.info(f'{report.headline()} The audit is in {page}.')
        barrier()
