"""Samples of a classifier: images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.samples.depth import Depth
from knowswap_mm.models.samples.reader import (
    OneCallReader,
    SampleLosses,
    class_layers,
    columns_of,
    nats_of,
    predicts_by_sigmoid,
)
from knowswap_mm.registry import SAMPLE_READERS


@SAMPLE_READERS.register_module()
class ClassifierReader(OneCallReader):
    """Reads heads of mmpretrain whose last layer is linear and has a row a class.

    Of an image with a mixed label the class is the larger part. Heads with margins, of several
    labels or of several outputs are none of these.
    """

    def __init__(self, loss: str, layer: str, sigmoid: bool, columns: int) -> None:
        super().__init__(loss, layer, sigmoid, columns)
        self._depths: dict[int, Depth | None] = {}

    @classmethod
    def of(cls, host: nn.Module, rows: ClassRows) -> ClassifierReader | None:
        """Looks for ``loss_module``, which is the head's, or the host's without a head."""
        part = 'head' if isinstance(getattr(host, 'head', None), nn.Module) else ''
        owner = host.get_submodule(part)
        sigmoid = predicts_by_sigmoid(getattr(owner, 'loss_module', None))
        layers = class_layers(host, rows, part, nn.Linear)
        several = any(hasattr(owner, name) for name in ('margins', 'thr'))
        if sigmoid is None or several or len(layers) != 1:
            return None
        if type(host.get_submodule(layers[0])).forward is not nn.Linear.forward:
            return None  # e.g. the product of normed vectors
        name = f'{part}.loss_module' if part else 'loss_module'
        return cls(name, layers[0], sigmoid, columns_of(host, layers[0]))

    def depth(self, host: nn.Module, count: int) -> Depth | None:
        """The last ``count`` blocks of the backbone that have adapters; None if none has."""
        if count not in self._depths:
            self._depths[count] = Depth.of(host, count)
        return self._depths[count]

    def samples_of(
        self, logits: Tensor, target: Tensor, seen: Tensor, said: Tensor
    ) -> SampleLosses:
        """Of images: logits ``(N, K)``, labels, and the input of the class layer."""
        labels = target.argmax(1) if target.numel() > len(logits) else target.flatten().long()
        return SampleLosses(
            nats=nats_of(logits, labels, self.sigmoid),
            images=torch.arange(len(logits), device=logits.device),
            labels=labels,
            layers=torch.zeros_like(labels),
            features=seen.flatten(1),
            logits=logits,
        )
