"""Units of a classifier: images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.audit.findings import HEAD
from knowswap_mm.audit.readers.reader import UnitReader, Units
from knowswap_mm.registry import AUDITS


@AUDITS.register_module()
class ClassificationReader(UnitReader):
    """A unit is an image; its features are what the last linear layer of the head sees."""

    unit = 'image'
    metric = [dict(type='Accuracy', topk=(1,)), dict(type='knowswap_mm.PerClassAccuracy')]
    primary, scale, class_metric = 'accuracy/top1', 100.0, 'class/{}'

    def at_block(self, host: nn.Module) -> Callable[[Tensor], Tensor]:
        """The class token where the head reads it, and otherwise the mean over all patches."""
        backbone = getattr(host, 'backbone', None)
        by_token = getattr(backbone, 'out_type', None) == 'cls_token'
        extra = getattr(backbone, 'num_extra_tokens', 0)

        def read(output: Tensor) -> Tensor:
            if output.dim() == 4:  # a map of features
                return output.mean(dim=(2, 3))
            if output.dim() != 3:
                return output.flatten(1)
            return output[:, 0] if by_token else output[:, extra:].mean(dim=1)

        return read

    def class_layers(self, host: nn.Module) -> Mapping[str, str]:
        """The linear layer of the head with a row for every class."""
        head = host.head
        count = getattr(head, 'num_classes', None)
        return {
            f'head.{name}': HEAD
            for name, layer in head.named_modules()
            if isinstance(layer, nn.Linear) and layer.out_features == count
        }

    def read(self, host: nn.Module, batch: dict[str, Any], own: set[int]) -> Units:
        """Read a batch of images."""
        data = host.data_preprocessor(batch, False)
        features = host.extract_feat(data['inputs'])
        logits = host.head(features).double()
        before_last = host.head.pre_logits(features)
        labels = torch.cat([s.gt_label for s in data['data_samples']]).to(logits.device)
        losses = nn.functional.cross_entropy(logits, labels, reduction='none')
        return Units(
            features=before_last.float().cpu().numpy(),
            labels=labels.cpu().numpy(),
            predicted=logits.argmax(dim=1).cpu().numpy(),
            losses=losses.cpu().numpy(),
            logits=logits.cpu().numpy(),
        )
