"""A diagnosis as one self-contained web page: no network, nothing beside it."""

from diagnosis.report.content import SECTIONS, Gallery, PageFigure, PageTable, ReportContent
from diagnosis.report.page import render_report, write_report

__all__ = [
    "SECTIONS",
    "Gallery",
    "PageFigure",
    "PageTable",
    "ReportContent",
    "render_report",
    "write_report",
]
