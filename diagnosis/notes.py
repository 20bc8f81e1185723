"""What a reader of the numbers should beware of: few images, few objects."""

from __future__ import annotations

from collections.abc import Sequence

from diagnosis.compare import Comparison
from diagnosis.record import Diagnosis

__all__ = ["FEW_IMAGES", "FEW_OBJECTS", "notes"]

FEW_IMAGES = 50
"""Fewer images than these say little about those not seen: the bootstrap's intervals come out too narrow."""

FEW_OBJECTS = 20
"""Of a class with fewer objects, one more or less moves the recall by 5 points and more."""

NAMED = 10  # classes named at most


def notes(diagnoses: Sequence[Diagnosis], comparison: Comparison | None = None) -> list[str]:
    """Sentences about what makes the numbers uncertain; none where there is nothing to beware of.

    Examples
    --------
    >>> from data.records import Detections, GroundTruth
    >>> from diagnosis import diagnose
    >>> truth = GroundTruth(["a"], ["dog"], [[90, 90]], [0], [0], [[0, 0, 9, 9]])
    >>> notes([diagnose(truth, Detections(["a"], ["dog"], [], [], [], []), coco=False)])
    ['Few objects that count, so a few more or less would change much: dog 1.']
    """
    told = []
    if comparison is not None and comparison.images < FEW_IMAGES:
        images = f"{comparison.images} image{'s' if comparison.images > 1 else ''}"
        told.append(
            f"The intervals come from {images}. With fewer than {FEW_IMAGES} they are rough, and rather too "
            "narrow than too wide."
        )
    truth, objects = diagnoses[0].truth, diagnoses[0].matching.objects
    few = sorted(
        (count, name)
        for name, count in zip(truth.classes, objects.tolist(), strict=True)
        if count < FEW_OBJECTS
    )
    present = [(count, name) for count, name in few if count]
    if present:
        more = f" and {len(present) - NAMED} more classes" if len(present) > NAMED else ""
        listed = ", ".join(f"{name} {count}" for count, name in present[:NAMED])
        told.append(f"Few objects that count, so a few more or less would change much: {listed}{more}.")
    absent = [name for count, name in few if not count]
    if absent:
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        told.append(f"No object that counts, so no average precision: {', '.join(absent[:NAMED])}{more}.")
    return told
