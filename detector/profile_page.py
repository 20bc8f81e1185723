"""A profile as one HTML page, without scripts and without requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from html import escape
from importlib import import_module
from typing import Any

__all__ = ["draw_svg", "write_page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2rem }
dl { display: grid; grid-template-columns: max-content auto; gap: 0 1rem } dt { color: #666 } dd { margin: 0 }
div { overflow-x: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: 1px 8px; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th { font-weight: 600 } summary { cursor: pointer }
"""


def draw_svg(draw: Callable[[Any], Any], salt: str) -> str:
    """What a function draws on Matplotlib's Axes, as an SVG element; the same text for the same drawing."""
    figure = import_module("matplotlib.figure").Figure(figsize=(8, 3.6), layout="constrained")
    text = io.StringIO()
    with import_module("matplotlib").rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        draw(figure.subplots())
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return text.getvalue()[text.getvalue().index("<svg") :]


def write_page(
    title: str, settings: Mapping[str, Any], figures: Mapping[str, str], tables: Mapping[str, Any]
) -> str:
    """The page: settings, SVG figures and pandas' tables by heading; all tables but the first are folded."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(x))}</dd>" for name, x in settings.items())
    parts = [f"<h2>{escape(name)}</h2>\n{figure}" for name, figure in figures.items()]
    for number, (name, table) in enumerate(tables.items()):
        words: dict[str, Any] = {"border": 0, "na_rep": "–", "float_format": "{:.3f}".format}
        html = f"<div>{table.to_html(index=number > 0, **words)}</div>"
        head, foot = ("<h2>{}</h2>", "") if number == 0 else ("<details><summary>{}</summary>", "</details>")
        parts.append(f"{head.format(escape(name))}\n{html}{foot}")
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n<dl>{facts}</dl>\n{body}\n</body></html>\n"
    )
