"""What probes of features share: units of all roles, and draws of examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from knowswap_mm.audit.case import Case
from knowswap_mm.audit.data import TEST, TRAIN
from knowswap_mm.audit.findings import HEAD
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.roles import FORGET, RETAIN

#: Fewest draws of examples over which a probe is averaged.
DRAWS = 20


def labels_of(subject: Subject, case: Case, split: str) -> np.ndarray:
    """Labels of the units of all roles, role after role; the same for all models of a case."""
    return np.concatenate([subject.units(split, role).labels for role in case.data.roles(split)])


def features_of(subject: Subject, case: Case, split: str, place: str = HEAD) -> np.ndarray:
    """Features of the same units at a place, ``(units, channels)``."""
    return np.concatenate([subject.units(split, role).at(place) for role in case.data.roles(split)])


def asked_roles(case: Case) -> list[str]:
    """Roles whose test samples are asked for their names: those to forget, and retained ones."""
    return [role for role in (FORGET, RETAIN) if role in case.data.roles(TEST)]


def count_asked(case: Case, samples: int) -> int:
    """How many samples :func:`named_beyond_chance` asks."""
    return sum(min(samples, len(case.data.positions(TEST, role))) for role in asked_roles(case))


@torch.no_grad()
def named_beyond_chance(host: nn.Module, case: Case, samples: int) -> float:
    """Share of forgotten test units that are named, less that of retained ones called like them.

    A model that calls everything by a forgotten class has not got the class back. Less than nothing
    is nothing.

    Args:
        host (nn.Module): The model, in evaluation mode.
        case (Case): The case.
        samples (int): At most so many test samples of a role are asked.
    """
    found = {role: _answers(host, case, role, samples) for role in asked_roles(case)}
    labels, predicted = found[FORGET]
    named = float((labels == predicted).mean())
    if RETAIN not in found:
        return named
    forgotten = sorted(case.data.labels(FORGET))
    return max(named - float(np.isin(found[RETAIN][1], forgotten).mean()), 0.0)


def _answers(host: nn.Module, case: Case, role: str, samples: int) -> list[np.ndarray]:
    """True and predicted labels of the units of a role in the first of its chosen test samples."""
    data, own = case.data, case.data.labels(role)
    chosen = data.positions(TEST, role)[:samples]
    batches = data.batches(TEST, chosen, data.test_batch_size)
    parts = [case.reader.answers(host, batch, own) for batch in batches]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def draw_examples(labels: np.ndarray, shots: int, draws: int, seed: int) -> list[np.ndarray]:
    """Positions of the examples of each draw.

    They depend on labels and seed alone, so that all models of a case are shown the same ones, and
    those of fewer shots are among those of more.

    Args:
        labels (np.ndarray): Labels of all units to choose from.
        shots (int): Examples a class; of a class with fewer units, all.
        draws (int): How often they are drawn.
        seed (int): Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return [
        np.concatenate([rng.permutation(members)[:shots] for members in classes])
        for _ in range(draws)
    ]


def few_shot(
    subject: Subject,
    case: Case,
    place: str,
    chosen: Sequence[np.ndarray],
    classifier: object,
) -> Estimate:
    """Share of the forgotten test units that a classifier of examples names, over several draws.

    Features are normalised to length one.

    Args:
        subject (Subject): The model whose features they are.
        case (Case): The case.
        place (str): Where the features are read.
        chosen (Sequence[np.ndarray]): Positions of the examples of each draw among the training
            units, see :func:`draw_examples`.
        classifier: Of scikit-learn.
    """
    from sklearn.preprocessing import normalize  # which takes half a second

    features = normalize(features_of(subject, case, TRAIN, place))
    labels = labels_of(subject, case, TRAIN)
    asked = subject.units(TEST, FORGET)
    unknown = normalize(asked.at(place))
    shares = []
    for positions in chosen:
        answers = classifier.fit(features[positions], labels[positions]).predict(unknown)
        shares.append(float((answers == asked.labels).mean()))
    return Estimate.of_draws(shares, len(unknown))
