"""Are the answers those of a model that never saw the classes?"""

from __future__ import annotations

import math

import numpy as np

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.statistics import Estimate, Verdict
from knowswap_mm.checks import check_whole
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET


@AUDITS.register_module()
class AnswerDistance(AuditPart):
    """What does the model say instead, and would one that never saw the classes say so, too?

    Total variation between the answers of two models to the test units of a forgotten class, that
    is half the sum of the differences of the shares of all answers (issue 27); the mean over
    classes, and over the references. The floor is the distance of the references from one another,
    so that two are needed. A model that is farther away than they are is *recovered* if it names
    the classes more often than they do by a half of the distance, and *recognisable* otherwise.

    Args:
        resamples (int): Resamples of the units, by which the intervals are found.
    """

    def __init__(self, resamples: int = 500) -> None:
        check_whole('audit.parts.AnswerDistance.resamples', resamples, 2, 500)
        self.resamples = resamples

    def run(self, case: Case) -> list[Finding | Table]:
        """Compare all models with the references."""
        if not case.references:
            return []

        def measure(subject: Subject) -> Estimate:
            others = [each for each in case.references if each is not subject]
            return self.measure(subject, others or case.references, case)

        finding = case.judged(
            'answer distance',
            f'total variation between the answers to forgotten test {case.reader.unit}s and those '
            'of the references; 0: the same shares, 1: nothing in common',
            measure,
            settings=(vars(self), case.seed, tuple(id(each) for each in case.references)),
            meaning='whoever compares the answers with those of a model that never saw the classes '
            'can tell that something was taken out',
        )
        if len({id(each) for each in case.references}) < 2:
            finding.floor, finding.verdict = None, Verdict.UNCLEAR
            finding.remark = (
                'How far models lie apart that never saw the classes, two references can tell.'
            )
        elif finding.verdict is Verdict.OVER_FORGOTTEN:  # as near as could be
            finding.verdict = Verdict.NOT_RECOVERED
        elif finding.verdict is Verdict.RECOVERED:
            named = self._named_more(case)
            finding.details['named more often'] = named
            if named < finding.after.value / 2:
                finding.verdict = Verdict.RECOGNISABLE
                finding.remark = 'The classes are not named, but others are than one would expect.'
        return [finding]

    def measure(self, subject: Subject, others: list[Subject], case: Case) -> Estimate:
        """Mean distance of a model to others, with a normal interval.

        Its width is from resamples of the units of each class, the same ones for all models; that
        of a reference is wider by the spread over classes, since one pair of them has no other.
        """
        mine = subject.units(TEST, FORGET)
        answers = [mine.predicted, *(other.units(TEST, FORGET).predicted for other in others)]
        classes = [np.flatnonzero(mine.labels == label) for label in np.unique(mine.labels)]
        rng = np.random.default_rng(case.seed)
        found = _distances(answers, classes)
        value = float(np.mean(found))
        drawn = [
            np.mean(_distances(answers, [rng.choice(units, len(units)) for units in classes]))
            for _ in range(self.resamples)
        ]
        half = 1.96 * float(np.std(drawn, ddof=1))
        estimate = Estimate(value, value - half, value + half)
        if any(subject is each for each in case.references):
            # Two trainings have one distance: its spread is taken from that over the classes.
            spread = float(np.std(found, ddof=1)) if len(found) > 1 else value
            widest = 1.96 * spread / math.sqrt(len(classes)) * math.sqrt(len(case.references))
            estimate = estimate.widened(widest)
        return Estimate(value, max(estimate.low, 0.0), min(estimate.high, 1.0))

    @staticmethod
    def _named_more(case: Case) -> float:
        """How much more often the audited model names the classes than the references do."""

        def share(subject: Subject) -> float:
            units = subject.units(TEST, FORGET)
            labels = np.unique(units.labels)
            return float(np.mean([units.right[units.labels == label].mean() for label in labels]))

        return share(case.after) - float(np.mean([share(each) for each in case.references]))


def _distances(answers: list[np.ndarray], classes: list[np.ndarray]) -> list[float]:
    """Total variation between the first model and each other one, class by class."""
    mine, *others = answers
    return [total_variation(mine[units], other[units]) for other in others for units in classes]


def total_variation(left: np.ndarray, right: np.ndarray) -> float:
    """Half the sum of the differences of the shares of each answer, from 0 to 1.

    Args:
        left (np.ndarray): Answers of one model, numbers from 0 on; at least one.
        right (np.ndarray): Those of another one.
    """
    count = int(max(left.max(), right.max())) + 1
    shares = [np.bincount(each, minlength=count) / len(each) for each in (left, right)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
