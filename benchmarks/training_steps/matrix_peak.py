"""What the device can do at most."""

from __future__ import annotations

import time

import torch


def matrix_peak(device: str, precision: str) -> float:
    """TFLOP/s of large matrix products in a precision; the best of several.

    Args:
        device (str): ``cuda`` or ``cpu``.
        precision (str): ``fp32``, ``tf32`` or ``bf16``; the caller has set torch's own switches.
    """
    size, repeats = (8192, 20) if device == 'cuda' else (1024, 5)
    dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for turn in range(repeats + 3):
        _wait(device)
        begin = time.perf_counter()
        left @ right
        _wait(device)
        if turn >= 3:
            best = max(best, 2e-12 * size**3 / (time.perf_counter() - begin))
    return best


def _wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()
