"""How well a few examples a class bring classes back: the same question as the audit's probe."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Examples a class over which shares are averaged, as the audit's prototype probe has them. One
#: alone can be met while the others are not: where a class lies scattered, one example brings
#: little of it back and twenty bring as much as ever (issue 27).
SHOTS = (1, 5, 20)
#: How often examples are drawn, and how many numbers are worked on at once, at most.
DRAWS, AT_ONCE = 100, 1 << 24


def few_shot_accuracy(
    features: Tensor,
    labels: Tensor,
    asked: Collection[int],
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> float | None:
    """Share of samples that are nearest to the mean of a few examples of their class.

    Features count by their direction. Examples of all classes are drawn from the samples, at most
    half of those of a class; the other samples of the classes that are asked for are tried. Those
    of fewer shots are among those of more.

    Args:
        features (Tensor): ``(N, D)``.
        labels (Tensor): Their classes, ``(N,)``.
        asked (Collection[int]): Classes whose samples are tried.
        shots (Sequence[int]): Examples a class; the shares are averaged over these numbers.
        draws (int): How often examples are drawn; the shares are averaged over them, too.
        seed (int): Seed of the draws.

    Returns:
        float | None: A share in [0, 1], the mean over classes; None if a class that is asked for
        has fewer than two samples, or there is no other class.
    """
    unit, labels = F.normalize(features.float(), dim=1), labels.to(features.device)
    classes, member, sizes = labels.unique(return_inverse=True, return_counts=True)
    known = classes.tolist()
    size = dict(zip(known, sizes.tolist(), strict=True))
    if len(classes) < 2 or any(size.get(c, 0) < 2 for c in asked) or not asked:
        return None
    own = F.one_hot(member, len(classes)).float()
    wanted = own[:, [known.index(c) for c in asked]]
    tried = wanted.sum(1).nonzero().flatten()
    wanted, theirs, truth = wanted[tried], unit[tried], member[tried]
    ranks = _ranks(member.cpu(), sizes.cpu(), draws, seed).to(unit.device)
    shares = []
    for count in shots:
        most = (sizes // 2).clamp(min=1, max=count)
        for some in ranks.split(max(AT_ONCE // own.numel(), 1)):
            chosen = (some < most[member]).float()  # (draws, N)
            centres = (chosen[:, :, None] * own).transpose(1, 2) @ unit / most[:, None]
            # What the square of the distance to a centre has beside that of the sample itself.
            far = centres.square().sum(2)[:, None] - 2 * theirs @ centres.transpose(1, 2)
            right = (far.argmin(2) == truth).float()
            left = (1 - chosen[:, tried])[:, :, None] * wanted
            shares.append(((right[:, :, None] * left).sum(1) / left.sum(1)).mean(1))
    return float(torch.cat(shares).mean())


def _ranks(member: Tensor, sizes: Tensor, draws: int, seed: int) -> Tensor:
    """Places of samples in a random order of each class, ``(draws, N)``."""
    generator = torch.Generator().manual_seed(seed)
    begins = sizes.cumsum(0) - sizes
    ranks = torch.empty(draws, len(member), dtype=torch.long)
    for row in ranks:
        mixed = torch.randperm(len(member), generator=generator)
        order = mixed[member[mixed].argsort(stable=True)]
        row[order] = torch.arange(len(member)) - begins[member[order]]
    return ranks
