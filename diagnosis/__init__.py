"""Diagnose a detector: boxes and scores in, findings out. Neither torch nor matplotlib is imported."""

from spatial_dependency import check_siblings

check_siblings("diagnosis", "data")

# ruff: noqa: E402
from diagnosis.average_precision import APTable, average_precision, precision_recall_curve
from diagnosis.breakdown import (
    ERROR_TYPES,
    Breakdown,
    ErrorType,
    PieErrorTypes,
    break_down,
    flag_error_types,
    pie_error_types,
)
from diagnosis.characteristics import Characteristics, Sensitivity, sensitivity
from diagnosis.compare import Comparison, compare
from diagnosis.detections_table import detections_table
from diagnosis.impact import Impact
from diagnosis.matching import Assignment, Matching, assign, assign_devkit, match
from diagnosis.record import Diagnosis, diagnose
from diagnosis.similar import similar_matrix
from diagnosis.tide import Tide
from diagnosis.to_json import to_json
from diagnosis.words import sentences, table

# Names of earlier versions.
error_flags = error_masks = flag_error_types
verdicts, Verdicts = pie_error_types, PieErrorTypes

__all__ = [
    "ERROR_TYPES",
    "APTable",
    "Assignment",
    "Breakdown",
    "Characteristics",
    "Comparison",
    "Diagnosis",
    "ErrorType",
    "Impact",
    "Matching",
    "PieErrorTypes",
    "Sensitivity",
    "Tide",
    "Verdicts",
    "assign",
    "assign_devkit",
    "average_precision",
    "break_down",
    "compare",
    "detections_table",
    "diagnose",
    "error_flags",
    "error_masks",
    "flag_error_types",
    "match",
    "pie_error_types",
    "precision_recall_curve",
    "sensitivity",
    "sentences",
    "similar_matrix",
    "table",
    "to_json",
    "verdicts",
]
