"""What became of the answers that should have stayed."""

from __future__ import annotations

import numpy as np
import scipy

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import RETAIN


@AUDITS.register_module()
class Drift(AuditPart):
    """Compares the answers to retained test units with those of the model before the swap."""

    def run(self, case: Case) -> list[Finding | Table]:
        """Count equal answers, and measure the distance of the answers where they are many."""
        if RETAIN not in case.data.roles(TEST):
            return []
        old = case.before.units(TEST, RETAIN)
        rows = []
        for name, subject in case.named[1:]:
            new = subject.units(TEST, RETAIN)
            same = Estimate.of_share(old.predicted == new.predicted)
            distance = None
            if old.logits is not None and new.logits is not None:
                was, now = (scipy.special.log_softmax(each.logits, axis=1) for each in (old, new))
                distance = float((np.exp(was) * (was - now)).sum(axis=1).mean())
            rows.append([name, same, distance])
        return [
            Table(
                'Drift of the retained classes',
                f'Share of the retained test {case.reader.unit}s with the same answer as before '
                'the swap, and mean Kullback-Leibler divergence from the old answer (nats).',
                ['model', 'same answer', 'divergence'],
                rows,
            )
        ]
