"""Steps of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from training_steps.step_task import Size, StepTask

_VIT_B = 'classification/vit-b16_imagenet100_learn-forget_parity.py'


class Classification(StepTask):
    """ViT: the small one of Fashion-MNIST, or ViT-B/16 or ViT-L/16 with 80 + 80 images."""

    scope = 'mmpretrain'
    sizes = {
        'cpu': Size('classification/vit-fashion_7cls_learn-forget_parity.py', (28, 28), 80),
        'gpu': Size(_VIT_B, (224, 224), 80),
        'gpu-large': Size(
            _VIT_B,
            (224, 224),
            80,
            {'model.host.backbone.arch': 'l', 'model.host.head.in_channels': 1024},
        ),
    }
    weights = dict(retain=1.0, forget=0.2, sparsity=0.005)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.cfg.model.host.data_preprocessor
        self._mean, self._std = (
            torch.tensor(settings[key], dtype=torch.float, device=self.device).view(-1, 1, 1)
            for key in ('mean', 'std')
        )
        self._swaps_channels = bool(settings.get('to_rgb'))

    def sample(self, generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
        """An image with one of seven labels."""
        label = torch.randint(0, 7, (1,), generator=generator)
        sample = DataSample(metainfo=dict(metainfo, num_classes=10)).set_gt_label(label)
        return sample.to(self.device)

    def data(self, span: slice = slice(None)) -> dict[str, Any]:
        """The batch in one tensor, as the collate function of mmpretrain leaves it."""
        return super().data(span) | dict(inputs=self._pictures[span])

    def logits(self, host: nn.Module, pictures: Tensor) -> Tensor:
        """Logits of images ``(N, 3, H, W)`` of bytes, without any framework around it."""
        pictures = pictures.flip(1) if self._swaps_channels else pictures
        pictures = (pictures - self._mean) / self._std
        if isinstance(host, ImageClassifier):
            return host(pictures, mode='tensor')
        return host(pictures)

    def host_losses(
        self,
        host: nn.Module,
        spans: list[slice],
        fused: bool,
        logits: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """Cross-entropy on the logits."""
        logits = logits or self.logits
        labels = torch.cat([sample.gt_label for sample in self._samples])
        if fused:
            together = logits(host, self._pictures)
            parts = [together[span] for span in spans]
        else:
            parts = [logits(host, self._pictures[span]) for span in spans]
        return [
            nn.functional.cross_entropy(part, labels[span])
            for part, span in zip(parts, spans, strict=True)
        ]
