"""Readers and writers of other people's file formats. Everything ends in :mod:`data.records`."""

from data.formats.classes import VOC_CLASSES, VOC_SIMILAR, ClassList, read_classes, write_classes
from data.formats.voc import (
    guard_test_set,
    read_detections,
    read_voc,
    read_voc_folder,
    voc_folder,
    write_detections,
)

__all__ = [
    "VOC_CLASSES",
    "VOC_SIMILAR",
    "ClassList",
    "guard_test_set",
    "read_classes",
    "read_detections",
    "read_voc",
    "read_voc_folder",
    "voc_folder",
    "write_classes",
    "write_detections",
]
