"""A few examples a class on frozen features."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST, TRAIN
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.report import Finding, Table
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.checks import check_whole
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET


@AUDITS.register_module()
class PrototypeProbe(AuditPart):
    """Do a few examples suffice to have the forgotten classes back?

    Each class is the mean of the normalised features of ``shots`` training units; a test unit
    belongs to the nearest mean. Averaged over several draws of the examples.

    Args:
        shots (int): Examples a class.
        draws (int): Draws of them.

    Raises:
        ConfigError: If a number is below 1.
    """

    def __init__(self, shots: int = 5, draws: int = 20) -> None:
        for name, value in (('shots', shots), ('draws', draws)):
            check_whole(f'audit.parts.PrototypeProbe.{name}', value, 1, 5)
        self.shots, self.draws = shots, draws

    def run(self, case: Case) -> list[Finding | Table]:
        """Probe all models."""
        return [
            case.judged(
                f'prototype probe, {self.shots} shots',
                f'share of the forgotten test {case.reader.unit}s nearest to the mean of '
                f'{self.shots} examples of their class',
                lambda subject: self.measure(subject, case),
                settings=(vars(self), case.seed),
            )
        ]

    def measure(self, subject: Subject, case: Case) -> Estimate:
        """Accuracy of the nearest prototype on the forgotten classes of one model."""
        trained = [subject.units(TRAIN, role) for role in case.data.roles(TRAIN)]
        features = normalize(np.concatenate([units.features for units in trained]))
        labels = np.concatenate([units.labels for units in trained])
        asked = subject.units(TEST, FORGET)
        unknown = normalize(asked.features)
        rng = np.random.default_rng(case.seed)
        shares = []
        for _ in range(self.draws):
            chosen = np.concatenate(
                [
                    rng.permutation(np.flatnonzero(labels == label))[: self.shots]
                    for label in np.unique(labels)
                ]
            )
            nearest = NearestCentroid().fit(features[chosen], labels[chosen])
            shares.append(float((nearest.predict(unknown) == asked.labels).mean()))
        mean = float(np.mean(shares))
        drawn = Estimate.of_share(np.arange(len(unknown)) < round(mean * len(unknown)))
        spread = float(np.std(shares, ddof=1) if len(shares) > 1 else 0) / np.sqrt(len(shares))
        sampling = Estimate(mean, min(drawn.low, mean), max(drawn.high, mean))
        return sampling.widened(float(stats.norm.ppf(0.975)) * float(spread))
