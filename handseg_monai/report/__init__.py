"""What people see of data and results."""

from handseg_monai.report.audit import Audit, audit
from handseg_monai.report.audit_findings import AuditFinding, Fault
from handseg_monai.report.audit_report import print_audit, write_audit
from handseg_monai.report.results import Report, write_report
from handseg_monai.report.survey import Survey, survey

__all__ = [
    "Audit",
    "AuditFinding",
    "Fault",
    "Report",
    "Survey",
    "audit",
    "print_audit",
    "survey",
    "write_audit",
    "write_report",
]
