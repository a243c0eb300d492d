"""The audit: is what was to be forgotten really gone?"""

from knowswap_mm.evaluation.audit.audit_report import AuditReport
from knowswap_mm.evaluation.audit.auditor import Auditor
from knowswap_mm.evaluation.audit.estimate import Estimate
from knowswap_mm.evaluation.audit.finding import Finding, Table
from knowswap_mm.evaluation.audit.verdict import Verdict

__all__ = ['AuditReport', 'Auditor', 'Estimate', 'Finding', 'Table', 'Verdict']
