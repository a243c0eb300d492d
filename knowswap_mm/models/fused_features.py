"""One feature extraction for all roles of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError

FUSE_MODES = ('same_shape', 'always', 'never')


class FusedFeatures:
    """Runs ``host.extract_feat`` once and hands each role its slice.

    All hosts' ``loss`` calls ``self.extract_feat``; while a role's loss is computed, that name
    returns the role's part of the features. Heads and losses stay per role, because detection
    losses normalise by the positives of their batch. A host that does not call ``extract_feat``
    falls back to separate passes after the first batch.

    Args:
        mode (str): ``same_shape`` fuses when the roles have images of one size; ``always`` has
            the data preprocessor pad all roles of a batch to one size; ``never`` makes one pass a
            role.
        fp32_losses (bool): Whether heads and losses leave autocast, for those without a bfloat16
            kernel; the features stay in it.

    Raises:
        ConfigError: If the mode is unknown.
    """

    def __init__(self, mode: str = 'same_shape', fp32_losses: bool = False) -> None:
        if mode not in FUSE_MODES:
            raise ConfigError('model.fuse', mode, 'unknown mode', f'use one of {FUSE_MODES}')
        self.mode, self.fp32_losses = mode, fp32_losses
        self.supported = True
        self._used = False

    def extract(self, host: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Any] | None:
        """Features by role, or None if each role's loss is to make a pass of its own.

        Args:
            host (nn.Module): The host.
            inputs (dict[str, Tensor]): Images by role, each ``(N, C, H, W)``. If they are fused,
                those of each role become, in place, a view of all, which then lie in memory once.
        """
        if not self.supported:
            return None
        one_shape = len({tensor.shape[1:] for tensor in inputs.values()}) == 1
        if self.mode != 'never' and one_shape and len(inputs) > 1:
            images = torch.cat(list(inputs.values()))
            spans, start = {}, 0
            for role, tensor in inputs.items():
                spans[role] = slice(start, start + len(tensor))
                start += len(tensor)
            inputs.update({role: images[span] for role, span in spans.items()})
            features = host.extract_feat(images)
            parts = {role: _slice(features, span) for role, span in spans.items()}
        elif self._leaves_autocast(inputs):
            parts = {role: host.extract_feat(tensor) for role, tensor in inputs.items()}
        else:
            return None
        return _to_float(parts) if self._leaves_autocast(inputs) else parts

    def predict(self, host: nn.Module, inputs: Any, data_samples: Any) -> Any:
        """Let the host predict; its head leaves autocast if the losses do.

        Args:
            host (nn.Module): The host.
            inputs (Tensor): Images, ``(N, C, H, W)``.
            data_samples (list): Their samples.
        """
        alone = nullcontext()
        if isinstance(inputs, Tensor) and self._leaves_autocast(dict(all=inputs)):
            alone = self.given(host, _to_float(host.extract_feat(inputs)))
        supported = self.supported
        try:
            with alone:
                return host(inputs, data_samples, mode='predict')
        finally:
            self.supported = supported  # this is for losses to decide

    def _leaves_autocast(self, inputs: dict[str, Tensor]) -> bool:
        device = next(iter(inputs.values())).device.type
        return self.fp32_losses and torch.is_autocast_enabled(device)

    @contextmanager
    def given(self, host: nn.Module, features: Any) -> Iterator[None]:
        """Let ``host.extract_feat`` return ``features``, nested ``(N, ...)``, in the block."""
        self._used = False
        device = next(host.parameters()).device.type
        autocast = torch.is_autocast_enabled(device) and not self.fp32_losses

        def extract_feat(*args: Any, **kwargs: Any) -> Any:
            self._used = True
            return features

        host.extract_feat = extract_feat
        try:
            with torch.autocast(device, enabled=autocast, dtype=torch.get_autocast_dtype(device)):
                yield
        finally:
            del host.extract_feat
        self.supported = self._used


def _slice(features: Any, span: slice) -> Any:
    if isinstance(features, Tensor):
        return features[span]
    if isinstance(features, (list, tuple)):
        return type(features)(_slice(part, span) for part in features)
    if isinstance(features, dict):
        return {key: _slice(part, span) for key, part in features.items()}
    return features


def _to_float(features: Any) -> Any:
    if isinstance(features, Tensor):
        return features.float() if features.is_floating_point() else features
    if isinstance(features, (list, tuple)):
        return type(features)(_to_float(part) for part in features)
    if isinstance(features, dict):
        return {key: _to_float(part) for key, part in features.items()}
    return features
