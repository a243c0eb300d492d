"""Which training samples of a role the guard watches, and holds out of training (issue 26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from knowswap_mm.checks import check_number

#: ``swap.holdout`` of a config that has none.
SHARE = 0.1
#: Nothing is held out of a class with fewer samples.
LEAST_OF_CLASS = 10
#: Samples of a role that the guard watches at most, and that are held out if the objective wants no
#: more; fewer than the least say nothing and train.
MOST, LEAST = 64, 4
#: Training samples of a role that are watched at most, where nothing can be held out.
MOST_TRAINED = 32


def held_share(swap: Mapping[str, Any]) -> float:
    """The share of each class that the field ``swap`` of a config holds out: 0 without a guard.

    Raises:
        ConfigError: If ``swap.holdout`` is no share.
    """
    share = swap.get('holdout', SHARE)
    check_number('swap.holdout', share, 'in [0, 1)', SHARE)
    return 0.0 if swap.get('guard', True) is False else float(share)


def hold_out(
    members: Sequence[np.ndarray], share: float, seed: int, most: int = MOST, each: int = 1
) -> np.ndarray:
    """Choose the samples of a role that are held out.

    A sample with several classes counts for each of them, and is taken only if none of them gives
    more than its share. Classes take turns, the rarest first, so that any beginning of the list is
    spread over classes.

    Args:
        members (Sequence[np.ndarray]): By class the indices of the samples that hold it.
        share (float): Share of each class of at least :data:`LEAST_OF_CLASS` samples, in [0, 1);
            such a class gives at least one.
        seed (int): Seed of the choice.
        most (int): Samples at most. A longer list begins with the shorter one.
        each (int): Samples that such a class gives at least, if that is no more than a third of it.

    Returns:
        np.ndarray: Indices, int64: none, or from :data:`LEAST` to ``most``.
    """
    sizes = [len(own) for own in members]
    enough = [share > 0 and n >= LEAST_OF_CLASS for n in sizes]
    least = [max(min(each, n // 3), 1) for n in sizes]
    left = [max(int(share * n), m) * on for n, m, on in zip(sizes, least, enough, strict=True)]
    return _in_turn(members, left, seed, most)


def watch_trained(members: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Choose training samples that are watched though they train, spread over the classes.

    Args:
        members (Sequence[np.ndarray]): As for :func:`hold_out`.
        seed (int): Seed of the choice.

    Returns:
        np.ndarray: Indices, int64: none, or from :data:`LEAST` to :data:`MOST_TRAINED`.
    """
    return _in_turn(members, [len(each) for each in members], seed, MOST_TRAINED)


def _in_turn(members: Sequence[np.ndarray], left: list[int], seed: int, most: int) -> np.ndarray:
    """Samples of the classes in turn, the rarest first, ``left`` of each and ``most`` in all."""
    rng = np.random.default_rng(seed)
    queues = [iter(rng.permutation(np.sort(each)).tolist()) for each in members]
    classes = _classes_of(members)
    chosen: dict[int, None] = {}
    sizes = [len(each) for each in members]
    turn = [number for number in np.argsort(sizes, kind='stable') if left[number]]
    while turn and len(chosen) < most:
        again = []
        for number in turn:
            found = next(
                (i for i in queues[number] if i not in chosen and all(left[c] for c in classes(i))),
                None,
            )
            if found is None or len(chosen) == most:
                continue
            chosen[found] = None
            for each in classes(found):
                left[each] -= 1
            again.append(number)
        turn = [number for number in again if left[number]]
    return np.array(list(chosen) if len(chosen) >= LEAST else [], dtype=np.int64)


def _classes_of(members: Sequence[np.ndarray]) -> Any:
    """A function from a sample's index to the classes that it holds."""
    samples = np.concatenate([*members, np.zeros(0, np.int64)]).astype(np.int64)
    numbers = np.repeat(np.arange(len(members)), [len(each) for each in members])
    order = np.argsort(samples, kind='stable')
    samples, numbers = samples[order], numbers[order]

    def classes(index: int) -> list[int]:
        first, last = np.searchsorted(samples, [index, index + 1])
        return numbers[first:last].tolist()

    return classes
