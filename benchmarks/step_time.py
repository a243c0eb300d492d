"""Milliseconds per step of the swapper against a plain peft + torch loop on the same model.

    python benchmarks/step_time.py                      # CPU-sized
    python benchmarks/step_time.py --preset vit-b16     # one GPU

Both sides get the same model, pictures that are ready on the device, and the same optimizer; they
take turns in one process, so that the ratio does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope

import knowswap_mm  # noqa: F401
from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.lora_injector import adapter_parameters
from knowswap_mm.schedule import SwapSchedule

ROOT = Path(__file__).resolve().parents[1]
PRESETS = {
    'fashion': ('vit-fashion_7cls_learn-forget_parity.py', 28, 80),
    'vit-b16': ('vit-b16_imagenet100_learn-forget_parity.py', 224, 80),
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--preset', choices=PRESETS, default='fashion')
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--batch', type=int, help='pictures a role')
    parser.add_argument('--bf16', action='store_true', help='bfloat16 autocast')
    parser.add_argument('--out', help='json file')
    return parser.parse_args()


def swapper_step(cfg: Config, size: int, batch: int, device: str) -> Callable[[], None]:
    """One forget step as training makes it: preprocessing, losses, backward, optimizer."""
    from mmpretrain.structures import DataSample

    model = MODELS.build(cfg.model).to(device).train()
    phases = [dict(kind='forget', iters=1, bound=105.0, weights=dict(forget=0.2, sparsity=0.005))]
    model.schedule = SwapSchedule.from_config(
        dict(phases=phases), dict(forget=batch, retain=batch), 2 * batch
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = OptimWrapper(torch.optim.AdamW(trainable, lr=1e-2, weight_decay=0.05))
    samples = []
    for index in range(2 * batch):
        sample = DataSample().set_gt_label(index % 7)
        role = 'forget' if index < batch else 'retain'
        sample.set_metainfo(dict(role=role, phase=0, num_classes=10))
        samples.append(sample)
    pictures = torch.randint(0, 256, (2 * batch, 3, size, size), dtype=torch.uint8, device=device)
    return lambda: model.train_step(dict(inputs=pictures, data_samples=samples), optimizer)


def plain_step(cfg: Config, size: int, batch: int, device: str, fused: bool) -> Callable[[], None]:
    """The same step written by hand: peft, two forwards (or one), cross-entropy, group term."""
    host = MODELS.build(copy.deepcopy(cfg.model.host)).to(device).train()
    host.requires_grad_(False)
    LoRAInjector(**cfg.model.lora).inject(host)
    host.to(device)
    adapters = adapter_parameters(host)
    groups: dict[str, list[torch.Tensor]] = {}
    for name, parameter in adapters.items():
        parameter.requires_grad_(True)
        groups.setdefault('.'.join(name.split('.')[:3]), []).append(parameter)
    optimizer = torch.optim.AdamW(adapters.values(), lr=1e-2, weight_decay=0.05)
    pictures = torch.randint(0, 256, (2 * batch, 3, size, size), dtype=torch.uint8, device=device)
    labels = torch.arange(2 * batch, device=device) % 7

    def logits(part: torch.Tensor) -> torch.Tensor:
        return host((part.float() - 127.5) / 127.5, mode='tensor')

    def step() -> None:
        if fused:
            forget, retain = logits(pictures).split(batch)
        else:
            forget, retain = logits(pictures[:batch]), logits(pictures[batch:])
        cross_entropy = torch.nn.functional.cross_entropy
        loss = cross_entropy(retain, labels[batch:])
        loss = loss + 0.2 * torch.relu(105.0 - cross_entropy(forget, labels[:batch]))
        norms = [torch.sqrt(sum(p.pow(2).sum() for p in group)) for group in groups.values()]
        loss = loss + 0.005 * sum(norms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Callable[[], None]], count: int, bf16: bool) -> dict[str, list[float]]:
    """Milliseconds of each step, the sides taking turns."""
    cuda = torch.cuda.is_available()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(count + 3):
        for name, step in steps.items():
            if cuda:
                torch.cuda.synchronize()
            begin = time.perf_counter()
            with torch.autocast('cuda' if cuda else 'cpu', torch.bfloat16, enabled=bf16):
                step()
            if cuda:
                torch.cuda.synchronize()
            if turn >= 3:
                times[name].append(1000 * (time.perf_counter() - begin))
    return times


def main() -> None:
    """Measures and prints."""
    args = parse_args()
    name, size, batch = PRESETS[args.preset]
    batch = args.batch or batch
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs' / 'classification' / name)
    torch.manual_seed(0)
    times = measure(
        {
            'knowswap_mm': swapper_step(cfg, size, batch, device),
            'plain peft, two forwards': plain_step(cfg, size, batch, device, fused=False),
            'plain peft, one forward': plain_step(cfg, size, batch, device, fused=True),
        },
        args.steps,
        args.bf16,
    )
    precision = 'bf16' if args.bf16 else 'fp32'
    print(f'{args.preset}, {batch} + {batch} pictures of {size} px, {precision}, {device}\n')
    report(
        times, dict(preset=args.preset, batch=batch, device=device, precision=precision), args.out
    )


def report(times: dict[str, list[float]], settings: dict, out: str | None) -> None:
    """Prints the table and writes it as json."""
    ours = statistics.median(times['knowswap_mm'])
    print('| loop | ms per step (median) | quartiles | ratio to ours |\n| --- | --- | --- | --- |')
    rows = []
    for loop, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        rows.append(dict(loop=loop, median=median, low=low, high=high, ratio=median / ours))
        print(f'| {loop} | {median:.1f} | {low:.1f} to {high:.1f} | {median / ours:.2f} |')
    if out:
        Path(out).write_text(json.dumps(dict(settings, rows=rows), indent=2) + '\n')


if __name__ == '__main__':
    main()
