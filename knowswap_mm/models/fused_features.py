"""One feature extraction for all roles of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from operator import itemgetter
from typing import Any

import torch
from mmengine.utils import apply_to
from torch import Tensor, nn

from knowswap_mm.checks import check_choice

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
        check_choice('model.fuse', mode, FUSE_MODES, 'mode')
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
            parts = {role: _of_each(features, itemgetter(span)) for role, span in spans.items()}
        elif self._leaves_autocast(inputs):
            parts = {role: host.extract_feat(tensor) for role, tensor in inputs.items()}
        else:
            return None
        return _of_each(parts, _to_float) if self._leaves_autocast(inputs) else parts

    def predict(self, host: nn.Module, inputs: Any, data_samples: Any) -> Any:
        """Let the host predict on ``(N, C, H, W)``; its head leaves autocast if the losses do."""
        alone = nullcontext()
        if isinstance(inputs, Tensor) and self._leaves_autocast(dict(all=inputs)):
            alone = self.given(host, _of_each(host.extract_feat(inputs), _to_float))
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
    def lend(self, host: nn.Module, features: dict[str, Any] | None, role: str) -> Iterator[None]:
        """Let the host take a role's features, if :meth:`extract` has any, instead of a pass.

        They are taken out of ``features``: what the host does not keep is free after its loss.
        """
        if features is None:
            yield
        else:
            with self.given(host, features.pop(role)):
                yield

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


def _of_each(features: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of nested features."""
    return apply_to(features, lambda part: isinstance(part, Tensor), change)


def _to_float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
