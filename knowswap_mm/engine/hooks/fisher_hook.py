"""Measures what elastic weight consolidation needs."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from knowswap_mm.engine.role_batches import role_batches
from knowswap_mm.errors import ConfigError
from knowswap_mm.models import ElasticWeightLoss
from knowswap_mm.registry import HOOKS
from knowswap_mm.roles import RETAIN
from knowswap_mm.value_checks import check_whole


@HOOKS.register_module()
class FisherHook(Hook):
    """Measures the Fisher information on retain data before training, for ElasticWeightLoss.

    The samples follow from the seed and the host from what every checkpoint holds, so a resumed run
    measures the same values again; nothing is stored.

    Args:
        samples (int): At most so many retain samples, each with a forward and a backward pass.

    Raises:
        ConfigError: If the number cannot be used, or the objective does not ask for it.
    """

    def __init__(self, samples: int = 512) -> None:
        check_whole('custom_hooks.FisherHook.samples', samples, 1, 512)
        self.samples = samples

    def before_train(self, runner: Any) -> None:
        """Measure."""
        objective = runner.swapper.swapping_loss
        if not isinstance(objective, ElasticWeightLoss):
            fix = "set model.loss = dict(type='knowswap_mm.ElasticWeightLoss') or drop FisherHook"
            problem = 'FisherHook measures for ElasticWeightLoss'
            raise ConfigError('model.loss.type', type(objective).__name__, problem, fix)
        if RETAIN not in runner.train_dataloader.dataset.views:
            fix = 'add train_dataloader.dataset.roles.retain'
            raise ConfigError('train_dataloader.dataset.roles', None, 'no retain data', fix)
        batches = role_batches(runner, RETAIN, self.samples, 1, 'fisher')
        objective.consolidate(runner.swapper, batches)
