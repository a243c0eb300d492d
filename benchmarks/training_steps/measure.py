"""Time and memory of loops that take turns."""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from training_steps.loop import Loop


def measure(
    loops: dict[str, Loop], count: int, warm_up: int, stretch: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of a step, the loops taking turns, so that what else goes on hits all alike.

    Args:
        loops (dict[str, Loop]): Loops by name.
        count (int): Measured turns of each.
        warm_up (int): Turns before, which are not counted.
        stretch (int): Steps of a turn. Only its ends wait for the device, as training waits for it
            between two lines of the log: what a loop itself waits for in between is its own cost.
    """
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(count + warm_up):
        for name, loop in loops.items():
            wait()
            begin = time.perf_counter()
            for _ in range(stretch):
                loop.step()
            wait()
            if turn >= warm_up:
                times[name].append(1000 * (time.perf_counter() - begin) / stretch)
    return times


def peak_memory(loop: Loop, own: int) -> int | None:
    """MiB that a step of a loop needs at most, its model included; None without a GPU.

    Args:
        loop (Loop): The loop, after its first steps.
        own (int): Bytes that its model and optimizer hold between steps.
    """
    if not torch.cuda.is_available():
        return None
    wait()
    resting = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    loop.step()
    wait()
    return (torch.cuda.max_memory_allocated() - resting + own) // 2**20


def held() -> int:
    """Bytes on the GPU now."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def reserved() -> int:
    """Bytes that PyTorch holds on the GPU and cannot give back, those of CUDA graphs included."""
    if not torch.cuda.is_available():
        return 0
    wait()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


def operations(loop: Loop) -> float:
    """TFLOP of the matrix products, convolutions and attentions of a step."""
    with FlopCounterMode(display=False) as counter:
        loop.step()
    return 1e-12 * counter.get_total_flops()


def wait() -> None:
    """Let the device finish."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
