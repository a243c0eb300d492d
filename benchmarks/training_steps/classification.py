"""Steps of a classifier."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from training_steps.step_task import Size, StepTask


class Classification(StepTask):
    """ViT: the small one of Fashion-MNIST, or ViT-B/16 with 80 + 80 images."""

    scope = 'mmpretrain'
    sizes = {
        'cpu': Size('classification/vit-fashion_7cls_learn-forget_parity.py', (28, 28), 80),
        'gpu': Size('classification/vit-b16_imagenet100_learn-forget_parity.py', (224, 224), 80),
    }
    weights = dict(retain=1.0, forget=0.2, sparsity=0.005)

    def sample(self, generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
        """An image with one of seven labels."""
        label = torch.randint(0, 7, (1,), generator=generator)
        sample = DataSample(metainfo=dict(metainfo, num_classes=10)).set_gt_label(label)
        return sample.to(self.device)

    def data(self, span: slice = slice(None)) -> dict[str, Any]:
        """The batch in one tensor, as the collate function of mmpretrain leaves it."""
        return super().data(span) | dict(inputs=self._pictures[span])

    def host_losses(self, host: nn.Module, spans: list[slice], fused: bool) -> list[Tensor]:
        """Cross-entropy on the logits, without any framework around it."""
        settings = self.cfg.model.host.data_preprocessor
        mean, std = (
            self._pictures.new_tensor(settings[k], dtype=torch.float).view(-1, 1, 1)
            for k in ('mean', 'std')
        )

        def logits(pictures: Tensor) -> Tensor:
            pictures = pictures.flip(1) if settings.get('to_rgb') else pictures
            return host((pictures - mean) / std, mode='tensor')

        labels = torch.cat([sample.gt_label for sample in self._samples])
        if fused:
            together = logits(self._pictures)
            parts = [together[span] for span in spans]
        else:
            parts = [logits(self._pictures[span]) for span in spans]
        return [
            nn.functional.cross_entropy(part, labels[span])
            for part, span in zip(parts, spans, strict=True)
        ]
