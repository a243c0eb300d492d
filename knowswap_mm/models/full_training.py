"""Training of all weights on the roles' data."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.swapper import KnowledgeSwapper
from knowswap_mm.models.trainable import keep_trainable
from knowswap_mm.registry import MODELS
from knowswap_mm.schedule import SwapPhase


@MODELS.register_module()
class FullTrainingSwapper(KnowledgeSwapper):
    """Trains every weight of the host, without adapters, on the same batches by role.

    It is what swaps are compared with: trained from random weights (``load_from=None`` and
    ``swap.allow_random_host=True``) in one ``learn`` phase, it is the reference of an audit, a
    model that never saw the forget set; from pretrained weights it is ordinary fine-tuning. Its
    checkpoints hold no adapters: the audit and the export take them as they are.

    Args:
        host (dict): As for :class:`KnowledgeSwapper`, like all other arguments. ``lora`` and
            ``adapters`` must be left out, and the only head policy is ``all``.

    Raises:
        ConfigError: If the config asks for adapters or for frozen rows.
    """

    def _inject(self, model: nn.Module, lora: dict[str, Any] | None) -> None:
        """Leave the host as it was built: what its config freezes stays frozen."""
        asked = {'model.lora': lora, 'model.adapters': [str(c.folder) for c in self.stack.contents]}
        for key, value in asked.items():
            if value:
                fix = "leave it out, or set model.type = 'knowswap_mm.KnowledgeSwapper'"
                raise ConfigError(key, value, 'all weights train here, without adapters', fix)
        self.adapter_name, self.adapters = None, {}

    def _apply_head_policy(self, model: nn.Module) -> dict[str, nn.Parameter]:
        if self.head_policy != 'all':
            fix = "set model.head.policy = 'all', or leave it out"
            problem = 'all weights train here, those of the head, too'
            raise ConfigError('model.head.policy', self.head_policy, problem, fix)
        parameters = dict(model.named_parameters())
        names = [tensor.name for tensor in self.class_rows.tensors if tensor.name in parameters]
        return {name: parameters[name] for name in names}

    def _rows_of_the_start(self, model: nn.Module) -> dict[str, Tensor]:
        return {}  # where all weights move, rows alone bring nothing back

    def train(self, mode: bool = True) -> FullTrainingSwapper:
        """Set the mode; batch norms learn their statistics, as in any training.

        The class rows train, whatever the ``train()`` of the host freezes.
        """
        rows = nn.ParameterList(self.head_rows.values())
        with keep_trainable(rows, mode):
            return BaseModel.train(self, mode)

    def set_trainable(self, phase: SwapPhase) -> bool:
        """Refuse phases that are about adapters; nothing is frozen or thawed.

        Raises:
            ConfigError: If the phase is an ``expand`` phase or weighs the group-sparse term.
        """
        key = f'swap.phases.{phase.index}'
        if phase.kind == 'expand':
            fix = "use model.type = 'knowswap_mm.KnowledgeSwapper', or a learn phase"
            raise ConfigError(f'{key}.kind', phase.kind, 'it trains the new head rows only', fix)
        if phase.weights['sparsity'] > 0:
            problem = 'the sparse term is over adapters, and there are none'
            value = phase.weights['sparsity']
            raise ConfigError(f'{key}.weights.sparsity', value, problem, 'set it to 0')
        return False
