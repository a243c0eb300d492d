"""A merged host with its config and its classes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.exporting.files import plain_host_config, plain_key_prefixes, plain_name
from knowswap_mm.lora.merge import merge_adapters
from knowswap_mm.models.host_config import replace_counts
from knowswap_mm.models.swapper import KnowledgeSwapper


class ExportedHost:
    """Merges a swapped model in double precision and takes its weights out, rounded once.

    Args:
        swapper (KnowledgeSwapper): The model with the weights of the swap; it is merged in place.
        host_config (dict): ``model.host`` of its config.
        classes (Sequence[str]): Names in the order of the rows; spare rows behind them get names
            like ``spare_7``, since stock tools want one for every row.
        count_keys (Sequence[str]): ``model.head.count_keys``.

    Attributes:
        config (dict): The plain config of the host.
        classes (list[str]): Names in the order of the rows of the exported head.
        label_map (dict[int, int]): From the label in the swap to the exported one.
    """

    def __init__(
        self,
        swapper: KnowledgeSwapper,
        host_config: dict[str, Any],
        classes: Sequence[str],
        count_keys: Sequence[str] = ('num_classes',),
    ) -> None:
        self.rows, self.count_keys = swapper.class_rows, tuple(count_keys)
        self.host: nn.Module = merge_adapters(swapper.host.double()).eval()
        self.config = plain_host_config(copy.deepcopy(host_config))
        self.prefixes = plain_key_prefixes(self.host)
        named = list(classes)
        self.classes = named + [f'spare_{row}' for row in range(len(named), self.rows.total)]
        self.label_map = {label: label for label in range(len(named))}
        self._kept: list[int] | None = None

    def drop(self, forgotten: Sequence[str]) -> None:
        """Take the rows of classes, and spare ones, out of the head; the others move up.

        Raises:
            ConfigError: If a class is unknown, or none would be left.
        """
        named = self.classes[: len(self.label_map)]
        if unknown := [name for name in forgotten if name not in named]:
            fix = f'choose from {named[:5]} ...'
            raise ConfigError('--drop', unknown[0], 'is no class of the model', fix)
        if self.rows.unclear:
            fix = 'say it in model.head.layouts, or export without --drop'
            problem = f'the order of rows of {self.rows.unclear[0]} cannot be told'
            raise ConfigError('--drop', list(forgotten), problem, fix)
        kept = [i for i, name in enumerate(named) if name not in set(forgotten)]
        if not kept:
            raise ConfigError('--drop', list(forgotten), 'no class is left', 'leave some')
        self._kept = kept
        self.label_map = {old: new for new, old in enumerate(kept)}
        self.classes = [self.classes[i] for i in kept]
        self._cut_weights(self.config)
        replace_counts(self.config, self.count_keys, self.rows.total, len(kept))

    def _cut_weights(self, config: Any) -> None:
        """Take the weights of dropped classes out of ``class_weight`` lists."""
        if isinstance(config, dict):
            for key, value in config.items():
                if key == 'class_weight' and isinstance(value, (list, tuple)):
                    config[key] = [value[i] for i in self._kept or ()] + [*value[self.rows.total :]]
                self._cut_weights(value)
        elif isinstance(config, (list, tuple)):
            for value in config:
                self._cut_weights(value)

    def state_dict(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The weights under the host's keys, floating-point ones in a precision.

        Raises:
            CheckpointError: If it cannot hold a value.
        """
        layouts = {tensor.name: tensor.layout for tensor in self.rows.tensors}
        state = {}
        for key, value in self.host.state_dict().items():
            if self._kept is not None and key in layouts:
                value = layouts[key].select(value, self._kept)
            value = value.detach().cpu()
            key = plain_name(key, self.prefixes)
            state[key] = (value.to(dtype) if value.is_floating_point() else value).clone()
            if state[key].is_floating_point() and not torch.isfinite(state[key]).all():
                raise CheckpointError(
                    f'{key} has values that {str(dtype).removeprefix("torch.")} cannot hold. Fix: '
                    'export without --half, or another checkpoint.'
                )
        return state
