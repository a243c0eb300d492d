"""The host's own metrics before and after."""

from __future__ import annotations

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import ROLES


@AUDITS.register_module()
class MetricsByRole(AuditPart):
    """The metrics of each role and of each of its classes, before and after, in percent."""

    def run(self, case: Case) -> list[Finding | Table]:
        """Evaluate all models on the whole test data."""
        metrics = [subject.metrics() for subject in case.subjects]
        rows = []
        for role in ROLES:
            if role not in case.data.roles('test'):
                continue
            rows.append([role, 'all', *self._cells(case, metrics, f'{role}/{case.reader.primary}')])
            for name in case.data.classes.of(role):
                key = f'{role}/{case.reader.class_metric.format(name)}'
                rows.append([role, name, *self._cells(case, metrics, key)])
        return [
            Table(
                'Before and after, by role and class',
                f'`{case.reader.primary}` of all test data in percent (of a class: its own value).',
                ['role', 'class', *[name for name, _ in case.named]],
                rows,
            )
        ]

    def images(self, case: Case) -> int:
        """All test data for each model."""
        return len(case.subjects) * len(case.data.as_tested)

    @staticmethod
    def _cells(case: Case, metrics: list[dict[str, float]], key: str) -> list[float | None]:
        values = [each.get(key) for each in metrics]
        return [None if v is None else 100 * float(v) / case.reader.scale for v in values]
