"""Milliseconds and memory per step of a swapped DINO against two separate passes of its host.

    python benchmarks/detector_step_time.py                     # small DINO, for a CPU
    python benchmarks/detector_step_time.py --preset swin-l     # one GPU
    python benchmarks/detector_step_time.py --preset swin-l --bf16

Both sides get the same model, pictures that are ready on the device, and the same optimizer.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from step_time import measure, report
from torch import nn

import knowswap_mm  # noqa: F401
from knowswap_mm.schedule import SwapSchedule

ROOT = Path(__file__).resolve().parents[1]
PRESETS = {
    'mini': ('dino-mini_shapes_learn-forget.py', (128, 128), 8),
    'swin-l': ('dino-4scale_swin-l_coco-cub_learn-forget_parity.py', (800, 1216), 2),
}
SPARSITY = 0.01
BOUND = 1000.0  # never reached: both sides compute everything in every step


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--preset', choices=PRESETS, default='mini')
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--bf16', action='store_true', help='bfloat16 backbone and neck')
    parser.add_argument('--out', help='json file')
    return parser.parse_args()


def make_batch(size: tuple[int, int], batch: int, device: str) -> dict:
    """Pictures with ten objects each, forget before retain, as the data loader gives them."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    corner = torch.tensor([size[1], size[0]])
    pictures, samples = [], []
    for number in range(2 * batch):
        role = 'forget' if number < batch else 'retain'
        picture = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
        pictures.append(picture.to(device))
        sample = DetDataSample(metainfo=dict(role=role, phase=0, img_shape=size, ori_shape=size))
        first = torch.rand(10, 2, generator=generator) * corner * 0.6
        boxes = torch.cat([first, first + 0.05 * corner + 0.3 * corner * torch.rand(10, 2)], 1)
        labels = torch.randint(0, 12, (10,), generator=generator)
        sample.gt_instances = InstanceData(bboxes=boxes.to(device), labels=labels.to(device))
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def build(cfg: Config, batch: int, device: str) -> tuple[nn.Module, OptimWrapper]:
    """A swapper with a forget phase, and an optimizer for what trains."""
    model = MODELS.build(copy.deepcopy(cfg.model)).to(device).train()
    weights = dict(retain=1.0, forget=0.2, sparsity=SPARSITY)
    phases = [dict(kind='forget', iters=1, bound=BOUND, weights=weights)]
    sizes = dict(forget=batch, retain=batch)
    model.schedule = SwapSchedule.from_config(dict(phases=phases), sizes, 2 * batch)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, weight_decay=1e-4)
    return model, OptimWrapper(optimizer, clip_grad=dict(max_norm=0.1))


def swapper_step(cfg: Config, batch: int, device: str, data: dict) -> Callable[[], None]:
    """One step as training makes it."""
    model, optimizer = build(cfg, batch, device)
    return lambda: model.train_step(copy.deepcopy(data), optimizer)


def plain_step(cfg: Config, batch: int, device: str, data: dict) -> Callable[[], None]:
    """The same by hand: the host's preprocessing, pass and losses twice, and the group term."""
    model, optimizer = build(cfg, batch, device)
    host, parameters = model.host, [p for p in model.parameters() if p.requires_grad]
    groups: dict[str, list[torch.Tensor]] = {}
    for name, matrix in model.adapters.items():
        groups.setdefault(name.split('.ffn.')[0], []).append(matrix)

    def part(span: slice) -> torch.Tensor:
        chosen = {key: copy.deepcopy(value[span]) for key, value in data.items()}
        ready = host.data_preprocessor(chosen, training=True)
        features = host.extract_feat(ready['inputs'])
        with torch.autocast(torch.device(device).type, enabled=False):
            floats = tuple(level.float() for level in features)
            inputs = host.forward_transformer(floats, ready['data_samples'])
            losses = host.bbox_head.loss(**inputs, batch_data_samples=ready['data_samples'])
        return sum(value.sum() for value in losses.values())

    def step() -> None:
        forget, retain = part(slice(0, batch)), part(slice(batch, 2 * batch))
        norms = [torch.sqrt(sum(p.pow(2).sum() for p in group)) for group in groups.values()]
        loss = retain + 0.2 * torch.relu(BOUND - forget) + SPARSITY * sum(norms)
        optimizer.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.optimizer.step()

    return step


def main() -> None:
    """Measures and prints."""
    args = parse_args()
    name, size, batch = PRESETS[args.preset]
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs' / 'detection' / name)
    data = make_batch(size, batch, device)
    times, memory = {}, {}
    # One after the other, so that each has the GPU's memory to itself.
    for loop, make in (('knowswap_mm', swapper_step), ('host, two passes', plain_step)):
        if device == 'cuda':
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(0)
        times |= measure({loop: make(cfg, batch, device, data)}, args.steps, args.bf16)
        if device == 'cuda':
            memory[loop] = round(torch.cuda.max_memory_allocated() / 2**20)
    precision = 'bf16 backbone' if args.bf16 else 'fp32'
    print(f'{args.preset}, {batch} + {batch} pictures of {size}, {precision}, {device}\n')
    settings = dict(preset=args.preset, batch=batch, device=device, precision=precision)
    report(times, dict(settings, peak_mib=memory), args.out)
    print(f'peak memory in MiB: {memory or "not measured on a CPU"}')


if __name__ == '__main__':
    main()
