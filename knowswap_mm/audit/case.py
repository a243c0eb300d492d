"""A part of an audit, and everything that it looks at."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from knowswap_mm.audit.data import AuditData
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.readers import UnitReader
from knowswap_mm.audit.report import Finding, Table
from knowswap_mm.audit.statistics import Estimate, Verdict, mean_of_references


@dataclass
class Case:
    """The models and the data of an audit.

    Attributes:
        before (Subject): The model before the swap.
        after (Subject): The audited model, merged.
        references (Sequence[Subject]): Models trained without the forget set.
        data (AuditData): The data.
        reader (UnitReader): The task.
        unloaded (nn.Module | None): What remains of the audited file if its adapters are dropped;
            None if it has none.
        margin (float): Tolerated share of the scale, see :class:`Verdict`.
        seed (int): Seed of everything random.
    """

    before: Subject
    after: Subject
    references: Sequence[Subject]
    data: AuditData
    reader: UnitReader
    unloaded: nn.Module | None = None
    margin: float = 0.1
    seed: int = 0

    @property
    def subjects(self) -> list[Subject]:
        """Before, after, and the references."""
        return [self.before, self.after, *self.references]

    @property
    def named(self) -> list[tuple[str, Subject]]:
        """All models with their names for tables."""
        names = ['before', 'after', 'reference']
        names += [f'reference {i}' for i in range(2, len(self.references) + 1)]
        return list(zip(names, self.subjects, strict=False))

    def judged(
        self,
        attack: str,
        statistic: str,
        measure: Callable[[Subject], Estimate],
        chance: float | None = None,
        remark: str = '',
        settings: object = None,
    ) -> Finding:
        """Measure all models and judge the audited one.

        Args:
            attack (str): Name of the attack.
            statistic (str): What ``measure`` gives, in words.
            measure (Callable): The statistic of a model; more means more knowledge.
            chance (float | None): The floor if there is no reference.
            remark (str): For the report.
            settings: What the statistic depends on beside the model and the data.
        """
        key = f'{attack}, {settings}'
        found = [
            subject.remembered(key, lambda subject=subject: measure(subject))
            for subject in self.subjects
        ]
        before, after, *others = found
        if others:
            floor = mean_of_references(others)
        else:
            floor = None if chance is None else Estimate.exact(chance)
        verdict = Verdict.judge(after, floor, before, self.margin)
        names = [name for name, _ in self.named]
        details = dict(by_model={n: vars(each) for n, each in zip(names, found, strict=True)})
        return Finding(attack, statistic, before, after, floor, verdict, remark, details)


class AuditPart(metaclass=ABCMeta):
    """Looks at a case; a new attack is one subclass in one file, registered in ``AUDITS``."""

    @abstractmethod
    def run(self, case: Case) -> list[Finding | Table]:
        """Look at the models: results of attacks, and tables without a verdict."""
