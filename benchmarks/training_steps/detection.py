"""Steps of a detector."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from training_steps.step_task import Size, StepTask


class Detection(StepTask):
    """DINO: the small one of the scenes, or Swin-L with 2 + 2 images of 800 px."""

    scope = 'mmdet'
    sizes = {
        'cpu': Size('detection/dino-mini_shapes_learn-forget.py', (128, 128), 8),
        'gpu': Size('detection/dino-4scale_swin-l_coco-cub_learn-forget_parity.py', (800, 1216), 2),
    }
    clip_grad = dict(max_norm=0.1)

    def sample(self, generator: torch.Generator, metainfo: dict[str, Any]) -> Any:
        """An image with ten objects."""
        height, width = self.picture
        corner = torch.tensor([width, height])
        first = torch.rand(10, 2, generator=generator) * corner * 0.6
        size = 0.05 * corner + 0.3 * corner * torch.rand(10, 2, generator=generator)
        sample = DetDataSample(
            metainfo=dict(metainfo, img_shape=self.picture, ori_shape=self.picture)
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([first, first + size], dim=1),
            labels=torch.randint(0, 12, (10,), generator=generator),
        )
        return sample.to(self.device)
