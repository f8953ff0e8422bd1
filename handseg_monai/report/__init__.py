"""What people see of data and results."""

from handseg_monai.report.audit import Audit, audit
from handseg_monai.report.audit_findings import AuditFinding, Fault
from handseg_monai.report.audit_report import print_audit, write_audit

__all__ = ["Audit", "AuditFinding", "Fault", "audit", "print_audit", "write_audit"]
