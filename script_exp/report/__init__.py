"""One self-contained HTML page of all finished runs: it opens from disk and loads nothing."""

from script_exp.report.page import Report, report_page

__all__ = ["Report", "report_page"]
