"""Models for an audit from weight files."""

from __future__ import annotations

import copy
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import nn

from knowswap_mm.engine.safe_load import safe_load, state_dict_of
from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora.host_state_dict import is_adapter_key
from knowswap_mm.models import KnowledgeSwapper, merged_host, original_host

#: What a model config says of training alone: it does not shape the host.
_OF_TRAINING = ('loss', 'fuse', 'fp32_losses')


class ModelFile:
    """A weight file: a state of a swap with its adapters, or a plain host.

    Args:
        config (Mapping): The config of the swap.
        path (str | Path): A checkpoint of a swap, an exported host, or any other plain checkpoint
            of the host with a row for every class, or for every old one.
        base (bool): Whether a plain file is the base beneath the adapters of earlier swaps
            (``model.adapters``); otherwise it is a whole model by itself.

    Attributes:
        adapted (bool): Whether the file holds adapters.
        key (Hashable): What :meth:`key_of` gave before the file was read.

    Raises:
        CheckpointError: If the file cannot be read as data or does not fit.
    """

    def __init__(self, config: Mapping[str, Any], path: str | Path, base: bool = False) -> None:
        self.key = self.key_of(config, path, base)
        state = state_dict_of(safe_load(path))
        self.adapted = any(is_adapter_key(key) for key in state)
        model = copy.deepcopy(config['model'])
        if not self.adapted and not base:
            model.pop('adapters', None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # rows that a file lacks must not differ from file to file
            self.swapper: KnowledgeSwapper = MODELS.build(model)
        try:
            self.swapper.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                f'{path} does not fit the model: {error}. Fix: give a file with a row for every '
                'class; an export without the rows of forgotten classes cannot be audited.'
            ) from None

    @staticmethod
    def key_of(config: Mapping[str, Any], path: str | Path, base: bool = False) -> Hashable:
        """What tells a file as it is now, and what it is read into, from all others.

        Args:
            config (Mapping): The config of the swap.
            path (str | Path): The file; it may be missing.
            base (bool): See the class.
        """
        path = Path(os.path.realpath(path))  # resolve() fails at a link to itself
        found = path.stat() if os.path.isfile(path) else None
        stamp = None if found is None else (found.st_size, found.st_mtime_ns)
        shape = {key: value for key, value in config['model'].items() if key not in _OF_TRAINING}
        return str(path), stamp, repr(shape), base

    def host(self) -> nn.Module:
        """The model as it is in the file, its adapters merged."""
        return merged_host(self.swapper) if self.adapted else original_host(self.swapper)
