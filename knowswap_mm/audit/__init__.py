"""The audit: is what was to be forgotten really gone?"""

from knowswap_mm.audit.auditor import Auditor
from knowswap_mm.audit.findings import DepthCurve, Finding, Table
from knowswap_mm.audit.report import AuditReport
from knowswap_mm.audit.statistics import Estimate, Verdict

__all__ = ['AuditReport', 'Auditor', 'DepthCurve', 'Estimate', 'Finding', 'Table', 'Verdict']
