"""Taking the adapter off."""

from __future__ import annotations

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.models import read_units
from knowswap_mm.audit.statistics import Estimate, Verdict
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET


@AUDITS.register_module()
class DroppedAdapter(AuditPart):
    """Who holds the adapters can drop them: an unmerged file remembers everything."""

    def run(self, case: Case) -> list[Finding | Table]:
        """Ask the audited file without its adapters."""
        before = Estimate.of_share(case.before.units(TEST, FORGET).right)
        name, statistic = 'dropped adapter', 'share named after the adapters were taken off'
        meaning = 'whoever has the file can take the swap back'
        if case.unloaded is None:
            after = Estimate.of_share(case.after.units(TEST, FORGET).right)
            remark = 'The file holds no adapters, so there is nothing to drop.'
            verdict = Verdict.NOT_APPLICABLE
            return [Finding(name, statistic, before, after, None, verdict, remark, meaning=meaning)]
        units = read_units(case.unloaded, case.data, case.reader, TEST, FORGET)
        after, floor = Estimate.of_share(units.right), Estimate.exact(0.0)
        verdict = Verdict.judge(after, floor, before, case.margin)
        remark = (
            'The file holds adapters beside the weights that they change: it is recoverable in '
            'full. Publish the merged export, never this file.'
        )
        return [Finding(name, statistic, before, after, floor, verdict, remark, meaning=meaning)]

    def images(self, case: Case) -> int:
        """The forgotten test images once more."""
        return 0 if case.unloaded is None else len(case.data.positions(TEST, FORGET))
