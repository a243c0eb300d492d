"""One part of an audit."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

from knowswap_mm.audit.case import Case
from knowswap_mm.audit.report import Finding, Table


class AuditPart(metaclass=ABCMeta):
    """Looks at a case; a new attack is one subclass in one file, registered in ``AUDITS``."""

    @abstractmethod
    def run(self, case: Case) -> list[Finding | Table]:
        """Look at the models.

        Args:
            case (Case): Models and data.

        Returns:
            list[Finding | Table]: Results of attacks, and tables without a verdict.
        """
