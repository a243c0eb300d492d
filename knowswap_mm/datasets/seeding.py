"""Random numbers as a function of position, so that an exact resume needs no stored state."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """Mix numbers and names into a 63-bit seed; equal parts give the equal seed everywhere."""
    text = '\x1f'.join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), 'little') >> 1


def seed_all(seed: int) -> None:
    """Seed the generators of Python, numpy and torch, on the CPU and on all devices."""
    import torch  # only now: converters of data sets draw without it

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def seeded_cpu(seed: int, restore: bool = True) -> Iterator[None]:
    """Seed Python, numpy and torch (CPU) inside the block; the state before comes back after it.

    The accelerator's generators are left alone: a sample may be loaded in the training process
    itself, and must not disturb the model's dropout.

    Args:
        seed (int): The seed.
        restore (bool): Whether the state before is of use to anybody. Bringing it back takes longer
            than the rest.
    """
    import torch

    if restore:
        python_state, numpy_state = random.getstate(), np.random.get_state()
        torch_state = torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if not restore:
        yield
        return
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
