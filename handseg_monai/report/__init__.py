"""The page that shows results."""

from handseg_monai.report.results import Report, write_report

__all__ = ["Report", "write_report"]
