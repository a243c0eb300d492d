"""The models that an auditor has met."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from knowswap_mm.evaluation.audit.model_file import ModelFile
from knowswap_mm.lora.adapter_manifest import hash_tensors


class HostStore:
    """Plain hosts on the device of an audit: equal ones are kept once, a file is read once.

    Args:
        device (str): Where the models run.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._by_weights: dict[str, nn.Module] = {}
        self._by_file: dict[Hashable, nn.Module] = {}

    def kept(self, host: nn.Module) -> nn.Module:
        """The host of the store with these weights; a copy, if there was none."""
        key = hash_tensors(host.state_dict())
        if key not in self._by_weights:
            self._by_weights[key] = copy.deepcopy(host).to(self.device)
        return self._by_weights[key]

    def opened(self, file: ModelFile) -> nn.Module:
        """The host of a file that was read for other reasons."""
        if file.key not in self._by_file:
            self._by_file[file.key] = self.kept(file.host())
        return self._by_file[file.key]

    def of_file(self, config: Mapping[str, Any], path: str | Path, base: bool = False) -> nn.Module:
        """The host of a file, which is read unless it is known and as it was; see ModelFile."""
        known = self._by_file.get(ModelFile.key_of(config, path, base))
        return self.opened(ModelFile(config, path, base)) if known is None else known
