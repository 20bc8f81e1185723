"""A diagnosis as one self-contained web page: no network, nothing beside it."""

from diagnosis.report.gallery import Gallery
from diagnosis.report.page import ReportContent, render_report, write_report

__all__ = ["Gallery", "ReportContent", "render_report", "write_report"]
