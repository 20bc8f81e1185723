"""The embedded data set: textured shapes, drawn on demand; needs no download.

``scenes`` draws images of several objects, which ``tree`` writes as a VOC tree, and images of one object for
classification; ``outlines`` and ``painting`` are what they are made of.
"""

from data.shapes.scenes import LARGE, VARIED
from data.shapes.tree import SHAPE_SETS, shapes_classes, write_shapes

__all__ = ["LARGE", "SHAPE_SETS", "VARIED", "shapes_classes", "write_shapes"]
