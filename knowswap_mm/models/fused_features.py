"""One feature extraction for all roles of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError

FUSE_MODES = ('same_shape', 'always', 'never')


class FusedFeatures:
    """Runs ``host.extract_feat`` once and hands each role its slice.

    All hosts' ``loss`` calls ``self.extract_feat``; while a role's loss is computed, that name
    returns the role's part of the fused features. Heads and losses stay per role, because detection
    losses normalise by the positives of their batch. A host that does not call ``extract_feat``
    falls back to separate passes after the first batch.

    Args:
        mode (str): ``same_shape`` fuses when the roles have pictures of one size, ``always`` pads
            them to one size first, ``never`` makes one pass a role.

    Raises:
        ConfigError: If the mode is unknown.
    """

    def __init__(self, mode: str = 'same_shape') -> None:
        if mode not in FUSE_MODES:
            raise ConfigError('model.fuse', mode, 'unknown mode', f'use one of {FUSE_MODES}')
        self.mode = mode
        self.supported = True
        self._used = False

    def extract(self, host: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Any] | None:
        """Features by role, or None if the roles must be passed one by one.

        Args:
            host (nn.Module): The host.
            inputs (dict[str, Tensor]): Pictures by role, each ``(N, C, H, W)``.
        """
        if self.mode == 'never' or not self.supported or len(inputs) < 2:
            return None
        shapes = {tensor.shape[1:] for tensor in inputs.values()}
        if len(shapes) > 1:
            if self.mode == 'same_shape':
                return None
            inputs = _pad_to_one_size(inputs)
        features = host.extract_feat(torch.cat(list(inputs.values())))
        parts, start = {}, 0
        for role, tensor in inputs.items():
            parts[role] = _slice(features, start, start + len(tensor))
            start += len(tensor)
        return parts

    @contextmanager
    def given(self, host: nn.Module, features: Any) -> Iterator[None]:
        """Let ``host.extract_feat`` return ``features`` inside the block."""
        self._used = False

        def extract_feat(*args: Any, **kwargs: Any) -> Any:
            self._used = True
            return features

        host.extract_feat = extract_feat
        try:
            yield
        finally:
            del host.extract_feat
        self.supported = self._used


def _slice(features: Any, start: int, stop: int) -> Any:
    if isinstance(features, Tensor):
        return features[start:stop]
    if isinstance(features, (list, tuple)):
        return type(features)(_slice(part, start, stop) for part in features)
    if isinstance(features, dict):
        return {key: _slice(part, start, stop) for key, part in features.items()}
    return features


def _pad_to_one_size(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    height = max(tensor.shape[-2] for tensor in inputs.values())
    width = max(tensor.shape[-1] for tensor in inputs.values())
    return {
        role: nn.functional.pad(t, (0, width - t.shape[-1], 0, height - t.shape[-2]))
        for role, t in inputs.items()
    }
