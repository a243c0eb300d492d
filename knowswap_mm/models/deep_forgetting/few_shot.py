"""How well a few examples a class bring classes back: the same question as the audit's probe."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor


def few_shot_accuracy(
    features: Tensor,
    labels: Tensor,
    asked: Collection[int],
    shots: int = 5,
    draws: int = 20,
    seed: int = 0,
) -> float | None:
    """Share of samples that are nearest to the mean of a few examples of their class.

    Features count by their direction. Examples of all classes are drawn from the samples, at most
    half of those of a class; the other samples of the classes that are asked for are tried.

    Args:
        features (Tensor): ``(N, D)``.
        labels (Tensor): Their classes, ``(N,)``.
        asked (Collection[int]): Classes whose samples are tried.
        shots (int): Examples a class.
        draws (int): How often examples are drawn; the shares are averaged.
        seed (int): Seed of the draws.

    Returns:
        float | None: A share in [0, 1], the mean over classes; None if a class that is asked for
        has fewer than two samples, or there is no other class.
    """
    unit, labels = F.normalize(features.float().cpu(), dim=1), labels.cpu()
    found = {int(c): (labels == c).nonzero().flatten() for c in labels.unique()}
    if len(found) < 2 or any(len(found.get(c, ())) < 2 for c in asked) or not asked:
        return None
    generator, classes = torch.Generator().manual_seed(seed), sorted(found)
    shares = []
    for _ in range(draws):
        means, rest = [], {}
        for label in classes:
            own = found[label]
            order = own[torch.randperm(len(own), generator=generator)]
            count = max(min(shots, len(own) // 2), 1)
            means.append(unit[order[:count]].mean(0))
            rest[label] = order[count:]
        centres = torch.stack(means)
        for label in asked:
            nearest = torch.cdist(unit[rest[label]], centres).argmin(1)
            shares.append((nearest == classes.index(label)).float().mean())
    return float(torch.stack(shares).mean())
