"""Reports: each format consumes the same Report."""

from modelcheck.report.document import SCHEMA, Report, make_report
from modelcheck.report.saved import (
    check_report_path,
    objection,
    read_report,
    report_beside,
    save_report,
    to_text,
)

__all__ = [
    "SCHEMA",
    "Report",
    "check_report_path",
    "make_report",
    "objection",
    "read_report",
    "report_beside",
    "save_report",
    "to_text",
]
