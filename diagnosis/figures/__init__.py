"""Figures of a diagnosis, by matplotlib: one file a family, over one style."""

from diagnosis.figures.plots import save_figures
from diagnosis.figures.sheet import save_sheet

__all__ = ["save_figures", "save_sheet"]
