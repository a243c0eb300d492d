"""Asking the model."""

from __future__ import annotations

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.report import ANSWERS
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET


@AUDITS.register_module()
class Answers(AuditPart):
    """Does the model still name the forgotten classes, and what does it say instead?

    The weakest attack: an answer may be wrong while everything is still known.
    """

    def run(self, case: Case) -> list[Finding | Table]:
        """Count the right answers to forget units of the test data."""
        unit = case.reader.unit
        finding = case.judged(
            ANSWERS,
            f'share of the forgotten test {unit}s that are named',
            lambda subject: Estimate.of_share(subject.units(TEST, FORGET).right),
            chance=0.0,
            meaning=f'whoever shows the model such {unit}s gets the right names',
        )
        return [finding, self._destinations(case)]

    @staticmethod
    def _destinations(case: Case) -> Table:
        names = [*case.data.classes.names, 'nothing']
        units = case.after.units(TEST, FORGET)
        rows = []
        for label in sorted(case.data.labels(FORGET)):
            answers = units.predicted[units.labels == label]
            if not len(answers):
                continue
            counts = {i: int((answers == i).sum()) for i in set(answers.tolist())}
            order = sorted(counts, key=lambda i: (-counts[i], i))
            shares = ', '.join(f'{names[i]} {100 * counts[i] / len(answers):.1f} %' for i in order)
            rows.append([names[label], len(answers), shares])
        return Table(
            'Where the answers for forgotten classes go',
            f'Answers of the audited model to test {case.reader.unit}s, most frequent first.',
            ['class', f'{case.reader.unit}s', 'answers'],
            rows,
        )
