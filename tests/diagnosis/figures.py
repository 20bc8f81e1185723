"""What tests ask of every figure, and what they read from it."""

import numpy as np
from matplotlib.text import Text


def shown_texts(figure):
    """All texts that are seen: not those of axes that are off, nor of ticks without labels."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.findobj(Text))]
    for axes in figure.axes:
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            marks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            marks = [mark for mark in marks if low <= mark.get_loc() <= high]
            found += [axis.label, *(label for mark in marks for label in (mark.label1, mark.label2))]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def texts(figure):
    return [text.get_text() for text in shown_texts(figure)]


def assert_legible(figure):
    """No text leaves the page, and none lies on another."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    shown = shown_texts(figure)
    boxes = np.array([text.get_window_extent(renderer).extents for text in shown])
    names = [text.get_text() for text in shown]
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > figure.bbox.extents[2:]).any(axis=1)
    assert not outside.any(), f"{names[int(outside.argmax())]!r} leaves the page"
    common = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    # In pixels. A line's box has room for accents and tails, which may touch the next line's.
    overlap = np.triu((common[..., 0] > 0.5) & (common[..., 1] > 2.5), k=1)
    assert not [(names[i], names[j]) for i, j in np.argwhere(overlap)]


def patches(figure, kind, labels=None):
    """The figure's patches of a kind, of these labels, in the order in which they were drawn."""
    return [
        patch
        for axes in figure.axes
        for patch in axes.patches
        if isinstance(patch, kind) and (labels is None or patch.get_label() in labels)
    ]
