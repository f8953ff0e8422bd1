"""Labels against anatomy and image: what is wrong with a data set."""

from handseg_monai.audit.audit import Audit, audit
from handseg_monai.audit.findings import AuditFinding, Fault
from handseg_monai.audit.table import print_audit, write_audit

__all__ = ["Audit", "AuditFinding", "Fault", "audit", "print_audit", "write_audit"]
