"""Figures of a diagnosis, by matplotlib: one file a family, over one style."""
