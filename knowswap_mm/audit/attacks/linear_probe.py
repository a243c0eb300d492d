"""A new linear classifier on frozen features."""

from __future__ import annotations

import warnings

import numpy as np

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST
from knowswap_mm.audit.findings import HEAD, DepthCurve, Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.probing import features_of, labels_of
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.checks import check_number, check_whole
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET

#: Tolerance of the solver at the head, and before it, where a curve needs no third digit.
_EXACT, _QUICK = 1e-4, 1e-3


@AUDITS.register_module()
class LinearProbe(AuditPart):
    """Are the forgotten classes still told apart by the features?

    A logistic regression over all classes of the swap is trained on features of test units and
    asked about other test units of the forgotten classes (cross-validation), because a model may
    know the features of its training units by heart. Features that were trained without those
    classes tell them apart to some extent, too: only what exceeds the reference is memory. At the
    head it has a verdict; at the places before it (Alain and Bengio 2016), the curve has none.

    Args:
        folds (int): Parts of the cross-validation.
        strength (float): Inverse of the regularisation, ``C`` of scikit-learn.
        max_iter (int): Iterations of the solver.
    """

    def __init__(self, folds: int = 5, strength: float = 1.0, max_iter: int = 1000) -> None:
        key = 'audit.parts.LinearProbe'
        check_whole(f'{key}.folds', folds, 2, 5)
        check_number(f'{key}.strength', strength, '> 0', 1)
        check_whole(f'{key}.max_iter', max_iter, 1, 1000)
        self.folds, self.strength, self.max_iter = folds, strength, max_iter

    def run(self, case: Case) -> list[Finding | Table | DepthCurve]:
        """Probe all models."""
        name, settings = 'linear probe', (vars(self), case.seed)
        statistic = (
            f'share of the forgotten test {case.reader.unit}s that a linear classifier on the '
            'features names (cross-validated)'
        )

        def measure(subject: Subject, place: str = HEAD) -> Estimate:
            return self.measure(subject, case, place)

        meaning = (
            'whoever trains a new last layer on labelled images has the forgotten classes back, '
            'and the rest of the model need not change'
        )
        finding = case.judged(name, statistic, measure, settings=settings, meaning=meaning)
        curve = case.over_depth(name, statistic, measure, settings)
        return [finding] if curve is None else [finding, curve]

    def measure(self, subject: Subject, case: Case, place: str = HEAD) -> Estimate:
        """Accuracy of the probe on the forgotten classes of one model."""
        # Half a second, which a training, that only checks the config of its audit, need not wait.
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features = features_of(subject, case, TEST, place)
        labels = labels_of(subject, case, TEST)
        asked = np.concatenate(
            [
                np.full(len(subject.units(TEST, role).labels), role == FORGET)
                for role in case.data.roles(TEST)
            ]
        )
        probe = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=self.strength,
                tol=_EXACT if place == HEAD else _QUICK,
                max_iter=self.max_iter,
                class_weight='balanced',
                random_state=0,
            ),
        )
        if (most := int(np.unique(labels, return_counts=True)[1].max())) < self.folds:
            problem = f'no class has more than {most} test {case.reader.unit}s'
            fix = 'raise audit.samples, or lower the folds'
            raise ConfigError('audit.settings.LinearProbe.folds', self.folds, problem, fix)
        # A class with fewer units than folds is merely left out of some parts.
        folds = StratifiedKFold(self.folds, shuffle=True, random_state=case.seed)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'The least populated class', UserWarning)
            answers = cross_val_predict(probe, features, labels, cv=folds)
        return Estimate.of_share((answers == labels)[asked])
