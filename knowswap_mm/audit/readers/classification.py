"""Units of a classifier: images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from knowswap_mm.audit.readers.reader import UnitReader, Units
from knowswap_mm.registry import AUDITS


@AUDITS.register_module()
class ClassificationReader(UnitReader):
    """A unit is an image; its features are what the last linear layer of the head sees."""

    unit = 'image'
    metric = [dict(type='Accuracy', topk=(1,)), dict(type='knowswap_mm.PerClassAccuracy')]
    primary, scale, class_metric = 'accuracy/top1', 100.0, 'class/{}'

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
