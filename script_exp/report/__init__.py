"""One HTML page of all finished runs, which opens from disk: nothing in it is loaded from anywhere."""

from script_exp.report.page import Report, report_page

__all__ = ["Report", "report_page"]
