"""What tests ask of every figure."""

import numpy as np
from matplotlib.text import Text


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def assert_legible(figure):
    """No text leaves the page, and none lies on another."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    shown = [
        text
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text.axes is not None
    ]
    boxes = np.array([text.get_window_extent(renderer).extents for text in shown])
    names = [text.get_text() for text in shown]
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > figure.bbox.extents[2:]).any(axis=1)
    assert not outside.any(), f"{names[int(outside.argmax())]!r} leaves the page"
    common = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    overlap = np.triu((common[..., 0] > 0.5) & (common[..., 1] > 2.5), k=1)
    assert not [(names[i], names[j]) for i, j in np.argwhere(overlap)]
