"""The nearest examples on frozen features."""

from __future__ import annotations

import numpy as np

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TRAIN
from knowswap_mm.audit.findings import HEAD, DepthCurve, Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.probing import DRAWS, draw_examples, few_shot, labels_of
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.checks import check_whole
from knowswap_mm.registry import AUDITS


@AUDITS.register_module()
class KNNProbe(AuditPart):
    """Do forgotten units still lie among those of their class?

    A test unit belongs to the class that most of its nearest examples have, by the distance of
    normalised features; near ones weigh more (by the inverse of their distance), so that there are
    no ties. Unlike prototypes and lines it finds classes of several clusters, too (issue 27). All
    classes have equally many examples; their draws are shared by all models.

    Args:
        neighbours (int): Examples that have a say.
        shots (int): Examples a class; of a class with fewer training units, all.
        draws (int): Draws of them.

    Raises:
        ConfigError: If a number is below 1.
    """

    def __init__(self, neighbours: int = 15, shots: int = 50, draws: int = DRAWS) -> None:
        key = 'audit.parts.KNNProbe'
        check_whole(f'{key}.neighbours', neighbours, 1, 15)
        check_whole(f'{key}.shots', shots, 1, 50)
        check_whole(f'{key}.draws', draws, 1, DRAWS)
        self.neighbours, self.shots, self.draws = neighbours, shots, draws

    def run(self, case: Case) -> list[Finding | Table | DepthCurve]:
        """Probe all models."""
        name, settings = 'kNN probe', (vars(self), case.seed)
        statistic = (
            f'share of the forgotten test {case.reader.unit}s whose {self.neighbours} nearest of '
            f'{self.shots} examples a class name them'
        )

        def measure(subject: Subject, place: str = HEAD) -> Estimate:
            return self.measure(subject, case, place)

        meaning = (
            f'a search for similar {case.reader.unit}s, built on this model, still finds those of '
            'the forgotten classes'
        )
        finding = case.judged(name, statistic, measure, settings=settings, meaning=meaning)
        curve = case.over_depth(name, statistic, measure, settings)
        return [finding] if curve is None else [finding, curve]

    def measure(self, subject: Subject, case: Case, place: str = HEAD) -> Estimate:
        """Accuracy of the nearest examples on the forgotten classes of one model."""
        chosen = draw_examples(labels_of(subject, case, TRAIN), self.shots, self.draws, case.seed)
        return few_shot(subject, case, place, chosen, Neighbours(self.neighbours))


class Neighbours:
    """A classifier, as scikit-learn has them, of rows of length one.

    Args:
        count (int): Neighbours that have a say.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def fit(self, features: np.ndarray, labels: np.ndarray) -> Neighbours:
        """Keep the examples."""
        self.features = features
        self.classes, self.members = np.unique(labels, return_inverse=True)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class of each row, ``(rows,)``."""
        near = features @ self.features.T
        count = min(self.count, near.shape[1])
        chosen = np.argpartition(-near, count - 1, axis=1)[:, :count]
        distances = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(near, chosen, axis=1), 1e-12))
        votes = np.zeros((len(features), len(self.classes)))
        rows = np.arange(len(features))
        for place in range(count):
            votes[rows, self.members[chosen[:, place]]] += 1 / distances[:, place]
        return self.classes[votes.argmax(axis=1)]
