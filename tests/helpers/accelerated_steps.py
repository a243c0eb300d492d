"""Steps of small swappers with accelerations, for tests of these."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mmdet.models  # noqa: F401  registers the hosts
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.schedule import SwapSchedule
from tests.helpers import detection_configs, segmentation_configs

SIZE = 64
PHASE = dict(kind='learn', iters=5, weights=dict(learn=0.9, retain=1.0, sparsity=0.01))


def build_detector(accelerations: Sequence[str] = (), **settings: Any) -> KnowledgeSwapper:
    """A small DINO in training mode; the same weights every time."""
    config = detection_configs.swapper_config(accelerations=list(accelerations), **settings)
    return _build(config, 'mmdet')


def build_segmentor(accelerations: Sequence[str] = (), **settings: Any) -> KnowledgeSwapper:
    """A small Mask2Former in training mode; the same weights every time."""
    config = segmentation_configs.swapper_config(accelerations=list(accelerations), **settings)
    return _build(config, 'mmseg')


def _build(config: dict[str, Any], scope: str) -> KnowledgeSwapper:
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(scope):
        swapper = MODELS.build(config)
    sizes = dict(learn=8, retain=8)
    swapper.schedule = SwapSchedule.from_config(dict(phases=[PHASE]), sizes, 4)
    for name, parameter in swapper.adapters.items():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return swapper.train()


def random_objects(
    generator: torch.Generator, count: int, size: tuple[int, int], classes: int
) -> InstanceData:
    """Boxes within an image of (height, width)."""
    limits = torch.tensor([size[1], size[0]])
    corners = torch.rand(2, count, 2, generator=generator) * limits
    boxes = torch.cat((corners.amin(0), corners.amax(0)), dim=1)
    labels = torch.randint(0, classes, (count,), generator=generator)
    return InstanceData(bboxes=boxes, labels=labels)


def detection_batch(
    counts: Sequence[int] = (1, 0, 2, 4), sizes: Sequence[tuple[int, int]] = ((SIZE, SIZE),) * 4
) -> dict[str, Any]:
    """Images, the first half of which are to be learned, with numbers of objects in them."""
    generator = torch.Generator().manual_seed(0)
    pictures, samples = [], []
    for number, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        sample = DetDataSample(metainfo=_metainfo(number, len(counts), size))
        sample.gt_instances = random_objects(generator, count, size, 4)
        sample.ignored_instances = random_objects(generator, 0, size, 4)
        pictures.append(torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8))
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def semantic_batch(counts: Sequence[int] = (1, 0, 2, 4)) -> dict[str, Any]:
    """Images with numbers of segments on unlabelled ground."""
    generator = torch.Generator().manual_seed(0)
    pictures, samples = [], []
    for number, count in enumerate(counts):
        sample = SegDataSample(metainfo=_metainfo(number, len(counts), (SIZE, SIZE)))
        label = torch.full((1, SIZE, SIZE), 255)
        for segment in torch.randperm(6, generator=generator)[:count].tolist():
            label[:, 8 * segment : 8 * segment + 20, 6 * segment : 6 * segment + 25] = segment
        sample.gt_sem_seg = PixelData(data=label)
        shape = (3, SIZE, SIZE)
        pictures.append(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8))
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def _metainfo(number: int, pictures: int, size: tuple[int, int]) -> dict[str, Any]:
    role = 'learn' if number < pictures // 2 else 'retain'
    return dict(role=role, phase=0, sample_index=number, img_shape=size, ori_shape=size)


def step(swapper: KnowledgeSwapper, data: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """One step with given random numbers: its total and the gradients of what trains."""
    data = swapper.data_preprocessor(copy.deepcopy(data), training=True)
    torch.manual_seed(seed)
    terms = swapper(**data, mode='loss')
    total, _ = swapper.parse_losses(terms)
    swapper.zero_grad()
    total.backward()
    gradients = {n: p.grad for n, p in swapper.named_parameters() if p.requires_grad}
    return dict(gradients, total=total.detach(), after=torch.rand(3))


def assert_same_steps(plain: KnowledgeSwapper, fast: KnowledgeSwapper, data: dict[str, Any]):
    """Total, gradients, and the random numbers that come next."""
    wanted, found = step(plain, data), step(fast, data)
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert torch.equal(found['after'], wanted['after'])
