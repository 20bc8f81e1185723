"""Readers and writers of other people's file formats. Everything ends in :mod:`data.records`.

A format is one file here, over :mod:`data.formats.validation` (what a row may be), :mod:`data.formats.names`
(which image or class a name means) and :mod:`data.formats.files`; :mod:`data.formats.detect_format` chooses
the reader.

The public names are imported at their first use, so that a list of classes does not wait for a parser.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.formats.classes import (
        COCO_SIMILAR,
        VOC_CLASSES,
        VOC_SIMILAR,
        ClassList,
        read_classes,
        write_classes,
    )
    from data.formats.coco import (
        coco_similar,
        read_coco,
        read_coco_detections,
        read_coco_pair,
        write_coco_detections,
        write_coco_ground_truth,
    )
    from data.formats.detect_format import read_found, read_ground_truth, similar_groups
    from data.formats.memory import from_predictions
    from data.formats.table import from_table, read_table
    from data.formats.voc import (
        guard_test_set,
        read_detections,
        read_voc,
        read_voc_folder,
        voc_folder,
        write_detections,
    )
    from data.formats.yolo import read_yolo, read_yolo_detections

__all__ = [
    "COCO_SIMILAR",
    "VOC_CLASSES",
    "VOC_SIMILAR",
    "ClassList",
    "coco_similar",
    "from_predictions",
    "from_table",
    "guard_test_set",
    "read_classes",
    "read_coco",
    "read_coco_detections",
    "read_coco_pair",
    "read_detections",
    "read_found",
    "read_ground_truth",
    "read_table",
    "read_voc",
    "read_voc_folder",
    "read_yolo",
    "read_yolo_detections",
    "similar_groups",
    "voc_folder",
    "write_classes",
    "write_coco_detections",
    "write_coco_ground_truth",
    "write_detections",
]

if not TYPE_CHECKING:  # or a type checker would let any name pass

    def __getattr__(name: str) -> object:
        if name in __all__:
            for module in ("classes", "voc", "coco", "yolo", "memory", "table", "detect_format"):
                home = import_module(f"data.formats.{module}")
                if name in home.__all__:
                    return globals().setdefault(name, getattr(home, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
