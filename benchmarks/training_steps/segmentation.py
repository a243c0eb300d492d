"""Steps of a segmentor."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from training_steps.step_task import Size, StepTask


class Segmentation(StepTask):
    """Mask2Former: the small one of the scenes, or Swin-B with 6 + 6 crops of 640 px."""

    scope = 'mmseg'
    sizes = {
        'cpu': Size('segmentation/mask2former-mini_shapes_learn-forget.py', (128, 128), 8),
        'gpu': Size(
            'segmentation/mask2former_swin-b_ade20k-voc_learn-forget_parity.py', (640, 640), 6
        ),
    }
    clip_grad = dict(max_norm=0.1)

    def sample(self, generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
        """A map of 8 x 8 tiles with one of twelve classes each."""
        tiles = torch.randint(0, 12, (1, 1, 8, 8), generator=generator).float()
        labels = torch.nn.functional.interpolate(tiles, size=self.picture, mode='nearest')[0]
        sample = SegDataSample(
            metainfo=dict(metainfo, img_shape=self.picture, ori_shape=self.picture)
        )
        sample.gt_sem_seg = PixelData(data=labels.long())
        return sample.to(self.device)
