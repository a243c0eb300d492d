"""Can one tell which images of the forgotten classes were trained on?"""

from __future__ import annotations

import numpy as np
import scipy

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST, TRAIN
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.readers.reader import Units
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.checks import check_whole
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET

#: The largest probability below 1 keeps log(1 - p) finite.
_MOST = 1 - np.finfo(np.float64).eps


@AUDITS.register_module()
class MembershipInference(AuditPart):
    """Threshold attacks on the forget set: training images against test images.

    A model that never saw the classes cannot tell them apart: its AUC is 0.5, up to chance. More is
    memory of the images; less is over-forgetting, which gives them away just as well. The attacks
    use the loss of the true label (Yeom et al. 2018), the confidence of the answer (Salem et al.
    2019), the entropy of the answer, and its modified entropy with respect to the true label (Song
    and Mittal 2021); hosts without one answer a sample only know the first.

    Args:
        resamples (int): Resamples of the bootstrap that gives the interval.
    """

    def __init__(self, resamples: int = 1000) -> None:
        check_whole('audit.parts.MembershipInference.resamples', resamples, 1, 1000)
        self.resamples = resamples

    def run(self, case: Case) -> list[Finding | Table]:
        """Attack all models."""
        names = list(scores(case.before.units(TEST, FORGET)))

        def measure(subject: Subject, name: str) -> Estimate:
            members = scores(subject.units(TRAIN, FORGET))[name]
            others = scores(subject.units(TEST, FORGET))[name]
            return auc(members, others, self.resamples, case.seed)

        return [
            case.judged(
                f'membership inference, {name}',
                'AUC of training against test images of the forgotten classes; chance is 0.5',
                lambda subject, name=name: measure(subject, name),
                chance=0.5,
                settings=(vars(self), case.seed),
                meaning='whoever holds an image can tell whether the model was trained on it',
            )
            for name in names
        ]


def scores(units: Units) -> dict[str, np.ndarray]:
    """Score of each attack by sample, ``(samples,)``; a higher one means "was trained on"."""
    found = dict(loss=-units.losses)
    if units.logits is not None:
        logs = scipy.special.log_softmax(units.logits.astype(np.float64), axis=1)
        found['confidence'] = logs.max(axis=1)
        found['entropy'] = (np.exp(logs) * logs).sum(axis=1)
        found['modified entropy'] = -modified_entropy(logs, units.labels)
    return found


def modified_entropy(logs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    r"""Modified entropy of predictions with respect to the true labels.

    .. math:: -(1 - p_y) \log p_y - \sum_{i \ne y} p_i \log (1 - p_i)

    Other than entropy it is zero only for a confident *right* answer (Song and Mittal 2021).

    Args:
        logs (np.ndarray): Logarithms of the probabilities, ``(samples, classes)``.
        labels (np.ndarray): True labels, ``(samples,)``.
    """
    rows = np.arange(len(labels))
    chances = np.exp(logs)
    terms = -chances * np.log1p(-np.minimum(chances, _MOST))
    terms[rows, labels] = -(1 - chances[rows, labels]) * logs[rows, labels]
    return terms.sum(axis=1)


def auc(members: np.ndarray, others: np.ndarray, resamples: int, seed: int) -> Estimate:
    """Area under the ROC curve, with a percentile bootstrap interval over both samples."""
    area = float(_area(members, others))
    if min(len(members), len(others)) < 2:  # nothing to resample: anything is possible
        return Estimate(area, 0.0, 1.0)
    found = scipy.stats.bootstrap(
        (members, others),
        _area,
        vectorized=True,
        n_resamples=resamples,
        batch=100,
        method='percentile',
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(area, float(found.low), float(found.high))


def _area(members: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mann-Whitney's U over the number of pairs; ties count half."""
    ranks = scipy.stats.rankdata(np.concatenate([members, others], axis=axis), axis=axis)
    count, rest = members.shape[axis], others.shape[axis]
    sums = np.take(ranks, np.arange(count), axis=axis).sum(axis=axis)
    return (sums - count * (count + 1) / 2) / (count * rest)
