"""A part of an audit, and everything that it looks at."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from knowswap_mm.audit.data import TEST, AuditData
from knowswap_mm.audit.findings import HEAD, DepthCurve, Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.readers import UnitReader
from knowswap_mm.audit.statistics import Estimate, Verdict, mean_of_references
from knowswap_mm.roles import FORGET


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
        doubt (str): Why the references are no sound floor, in words; empty if they are one.
    """

    before: Subject
    after: Subject
    references: Sequence[Subject]
    data: AuditData
    reader: UnitReader
    unloaded: nn.Module | None = None
    margin: float = 0.1
    seed: int = 0
    doubt: str = ''

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
        meaning: str = '',
    ) -> Finding:
        """Measure all models and judge the audited one.

        Where the references are in doubt, chance is the floor if there is one; otherwise nothing is
        decided.

        Args:
            attack (str): Name of the attack.
            statistic (str): What ``measure`` gives, in words.
            measure (Callable): The statistic of a model; more means more knowledge.
            chance (float | None): The floor if there is no reference.
            remark (str): For the report.
            settings: What the statistic depends on beside the model and the data.
            meaning (str): What it would mean if something was recovered.
        """
        key = f'{attack}, {settings}'
        found = [
            subject.remembered(key, lambda subject=subject: measure(subject))
            for subject in self.subjects
        ]
        before, after, *others = found
        if others and not (self.doubt and chance is not None):
            floor = mean_of_references(others)
        else:
            floor = None if chance is None else Estimate.exact(chance)
        verdict = Verdict.judge(after, floor, before, self.margin)
        if others and self.doubt:
            verdict, doubt = self.doubted(verdict, chance)
            remark = f'{remark} {doubt}'.strip()
        names = [name for name, _ in self.named]
        details = dict(by_model={n: vars(each) for n, each in zip(names, found, strict=True)})
        return Finding(attack, statistic, before, after, floor, verdict, remark, details, meaning)

    def doubted(self, verdict: Verdict, chance: float | None = None) -> tuple[Verdict, str]:
        """What remains of a verdict if the references are in doubt, and why."""
        if chance is not None:
            return verdict, f'The floor is chance, for {self.doubt}.'
        return Verdict.UNCLEAR, f'Unclear, for {self.doubt}.'

    def over_depth(
        self,
        attack: str,
        statistic: str,
        measure: Callable[[Subject, str], Estimate],
        settings: object = None,
    ) -> DepthCurve | None:
        """A statistic of all models at each place where all of them were read.

        None if there is no place but the head.

        Args:
            attack (str): Name of the attack.
            statistic (str): What ``measure`` gives, in words.
            measure (Callable): The statistic of a model at a place; at the head that of
                :meth:`judged`, which is not measured again.
            settings: What the statistic depends on beside the model and the data.
        """
        layers = [subject.units(TEST, FORGET).layers for subject in self.subjects]
        places = [name for name in layers[0] if all(name in each for each in layers)]
        if not places:
            return None
        places.append(HEAD)
        by_model = {
            name: [
                subject.remembered(
                    f'{attack}{"" if place == HEAD else f" at {place}"}, {settings}',
                    lambda subject=subject, place=place: measure(subject, place),
                )
                for place in places
            ]
            for name, subject in self.named
        }
        return DepthCurve(attack, statistic, places, by_model)


class AuditPart(metaclass=ABCMeta):
    """Looks at a case; a new attack is one subclass in one file, registered in ``AUDITS``.

    Attributes:
        like (str): Name of a part whose settings this one has, too, where it has none of its own.
    """

    like: str = ''

    @abstractmethod
    def run(self, case: Case) -> list[Finding | Table | DepthCurve]:
        """Look at the models: results of attacks, and what carries no verdict."""

    def images(self, case: Case) -> int:
        """How many images the part reads or trains on at most, to tell how long an audit takes.

        Those of :meth:`Subject.units` do not count: they are read once for all parts.
        """
        return 0
