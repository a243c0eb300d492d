"""A few examples a class on frozen features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TRAIN
from knowswap_mm.audit.findings import HEAD, DepthCurve, Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.probing import DRAWS, draw_examples, few_shot, labels_of
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.checks import check_whole, whole_numbers
from knowswap_mm.registry import AUDITS


@AUDITS.register_module()
class PrototypeProbe(AuditPart):
    """Do a few examples suffice to have the forgotten classes back?

    Each class is the mean of the normalised features of ``shots`` training units; a test unit
    belongs to the nearest mean (Snell et al. 2017, issue 27). Averaged over several draws of the
    examples, which all models share. At the head each number of shots has a verdict; at the places
    before it, the curve has none.

    Args:
        shots (int | Sequence[int]): Examples a class; of a class with fewer training units, all.
        draws (int): Draws of them.

    Raises:
        ConfigError: If a number is below 1.
    """

    def __init__(self, shots: int | Sequence[int] = (1, 5, 20), draws: int = DRAWS) -> None:
        key = 'audit.parts.PrototypeProbe'
        self.shots = whole_numbers(f'{key}.shots', shots, [1, 5, 20])
        check_whole(f'{key}.draws', draws, 1, DRAWS)
        self.draws = draws

    def run(self, case: Case) -> list[Finding | Table | DepthCurve]:
        """Probe all models."""
        labels = labels_of(case.before, case, TRAIN)
        counts = np.unique(labels, return_counts=True)[1]
        most, fewest = int(counts.max()), int(counts.min())
        found: list[Finding | Table | DepthCurve] = []
        for shots in self.shots:
            if shots > most and any(other >= most for other in self.shots if other < shots):
                continue  # the same examples as with fewer shots
            name = f'prototype probe, {shots} shot{"s" * (shots > 1)}'
            examples = f'{shots} example{"s" * (shots > 1)}'
            statistic = (
                f'share of the forgotten test {case.reader.unit}s nearest to the mean of '
                f'{examples} of their class'
            )
            settings = (shots, self.draws, case.seed)
            short = (
                f'A class has only {fewest} training {case.reader.unit}s.' if shots > fewest else ''
            )

            def measure(subject: Subject, place: str = HEAD, shots: int = shots) -> Estimate:
                return self.measure(subject, case, shots, place)

            meaning = (
                f'whoever has {examples} of each class can make the model sort the forgotten '
                'classes again, without any training'
            )
            found.append(
                case.judged(
                    name, statistic, measure, remark=short, settings=settings, meaning=meaning
                )
            )
            found.append(case.over_depth(name, statistic, measure, settings))
        return [each for each in found if each is not None]

    def measure(self, subject: Subject, case: Case, shots: int, place: str = HEAD) -> Estimate:
        """Accuracy of the nearest prototype on the forgotten classes of one model."""
        chosen = draw_examples(labels_of(subject, case, TRAIN), shots, self.draws, case.seed)
        return few_shot(subject, case, place, chosen, NearestMean())


class NearestMean:
    """A classifier, as scikit-learn has them: the class with the nearest mean."""

    def fit(self, features: np.ndarray, labels: np.ndarray) -> NearestMean:
        """Keep the mean of each class."""
        self.classes = np.unique(labels)
        self.means = np.stack([features[labels == label].mean(axis=0) for label in self.classes])
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class of each row, ``(rows,)``."""
        # The square of a row is the same for all means.
        distances = (self.means**2).sum(axis=1) - 2 * features @ self.means.T
        return self.classes[distances.argmin(axis=1)]
