"""Detections in memory, as detectors hand them out: torchvision's dictionaries, ``supervision.Detections``.

Neither library is imported: whatever has these fields, as arrays or tensors, will do. For tables see
:func:`data.formats.table.from_table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.formats.names import NO_INDEX, by_id, classes_by_name, images_by_id
from data.formats.validation import BoxFormat, Faults, Keys, detections_of, short_repr
from data.records import Detections, GroundTruth, InputError

__all__ = ["from_predictions"]

SOURCE = "predictions"
EXPECTED = "a dict of boxes, scores and labels (torchvision), or xyxy, confidence and class_id (supervision)"
BATCH = "images, each of it once: a list in the order of the ground truth's, or a dict by name"


class ImagePrediction(NamedTuple):
    """What was found on one image: n detections."""

    boxes: NDArray[Any]
    """``(n, 4)`` xyxy."""
    scores: NDArray[Any]
    """``(n,)``"""
    labels: NDArray[Any]
    """``(n,)`` numbers, or names."""


def from_predictions(
    predictions: Sequence[Any] | Mapping[Any, Any],
    truth: GroundTruth,
    names: Sequence[str] | Mapping[int, str] | None = None,
    lenient: bool = False,
    box_format: str | None = None,
    normalized: bool = False,
) -> Detections:
    """Detections from what a detector returned for each image.

    Parameters
    ----------
    predictions
        For each image either torchvision's dictionary (``boxes`` (n, 4) xyxy, ``scores`` (n,), ``labels``
        (n,); NumPy arrays, lists, or tensors on any device) or a ``supervision.Detections`` (``xyxy``,
        ``confidence``, ``class_id``). A list has one for every image of `truth`, in its order; a dictionary
        has them by the file name, name or COCO id of the image, see :mod:`data.formats.names`, and images
        that it lacks have no detections. Boxes are in pixels of the image as it was annotated.
    truth
        The ground truth.
    names
        The class name of each label: ``weights.meta["categories"]`` of torchvision, where label 0 is the
        background, ``model.names`` of Ultralytics. Default: the names that supervision keeps beside the
        numbers (``data["class_name"]``), or else a label is a category id where all labels are ids of
        ``truth.class_ids`` and some are no numbers of classes, and the number of the class in
        ``truth.classes``, from 0, where some are no ids. Where the labels fit both and mean different
        classes, `names` has to say.
    lenient
        Drop the detections that are at fault, with a warning that counts them, instead of raising.
    box_format, normalized
        What the four numbers of a box are, see :data:`~data.formats.validation.BOX_FORMATS` (default: xyxy),
        and whether they are fractions of the image's size.

    Raises
    ------
    InputError
        Another number of predictions than images; two keys of one image; labels that may mean two things;
        or, with the image's place and the row: a field missing, of another length or type, an unknown image
        or class, a score or box that is not finite, an inverted box.

    Examples
    --------
    >>> truth = GroundTruth(["a", "b"], ["cat", "dog"], [[100, 80], [100, 80]], [], [], [])
    >>> found = {"boxes": [[10, 10, 50, 60]], "scores": [0.9], "labels": [18]}
    >>> from_predictions({"b": found}, truth, names={17: "cat", 18: "dog"}).labels.tolist()
    [1]
    """
    keys: list[Any]
    images = images_by_id(truth)
    if isinstance(predictions, Mapping):
        keys, given = list(predictions), list(predictions.values())
        image_of = [images[_key(key)] for key in keys]
        first: dict[int, Any] = {}
        for key, image in zip(keys, image_of, strict=True):
            if first.setdefault(image, key) is not key and image != NO_INDEX:
                both = f"{short_repr(first[image])} and {short_repr(key)}"
                found = f"the keys {both} for the image {truth.images[image]!r}"
                raise InputError(SOURCE, found, "each image once")
    else:
        if not isinstance(predictions, Iterable):
            raise InputError(SOURCE, f"a {type(predictions).__name__}", BATCH)
        given = list(predictions)
        if len(given) != len(truth.images):
            raise InputError(SOURCE, f"{len(given)} of them", f"{len(truth.images)} {BATCH}")
        keys = image_of = list(range(len(given)))
    parts = [
        _prediction(f"{SOURCE}[{short_repr(key)}]", one, names is None)
        for key, one in zip(keys, given, strict=True)
    ]
    counts = np.array([len(part.scores) for part in parts], dtype=np.int64)
    start = np.cumsum(counts) - counts
    part_of = np.repeat(np.arange(len(parts)), counts)
    raw: list[Any] = [value for part in parts for value in part.labels.tolist()]
    scores = np.concatenate([part.scores for part in parts] or [np.zeros(0)])
    values = np.concatenate([part.boxes for part in parts] or [np.zeros((0, 4))])
    image_index = np.array(image_of, dtype=np.int64)[part_of] if parts else np.zeros(0, np.int64)
    numbers = f"a number from 0 to {len(truth.classes) - 1}, or names that say what the numbers mean"
    if names is not None:
        numbers = "a label whose name in names is a class of the ground truth"
    return detections_of(
        truth,
        Faults(SOURCE, lenient),
        lambda row: f"{SOURCE}[{short_repr(keys[part_of[row]])}], row {row - start[part_of[row]]}",
        (image_index, _labels(raw, truth, names), scores, values),
        BoxFormat.chosen(box_format, normalized, BoxFormat("xyxy")),
        not (box_format or normalized),
        Keys(
            lambda row: _key(keys[part_of[row]]),
            lambda row: raw[row] if isinstance(raw[row], str) else f"{raw[row]:g}",
            images,
            numbers=numbers,
        ),
    )


def _labels(
    raw: Sequence[Any], truth: GroundTruth, names: Sequence[str] | Mapping[int, str] | None
) -> NDArray[np.int64]:
    """``(M,)`` the class of each label, which is a number or a name."""
    index = classes_by_name(truth)
    if names is None:
        numbers = _meaning(raw, truth)
    else:
        try:
            if isinstance(names, str | bytes | Set) or not len(names):
                raise ValueError
            listed = names.items() if isinstance(names, Mapping) else enumerate(names)
            numbers = {int(_key(number)): index[str(name)] for number, name in listed}
            if len(numbers) < len(names):  # 2 and "2"
                raise ValueError
        except (TypeError, ValueError):
            raise InputError(
                "names", short_repr(names), "a list of class names, or names by number"
            ) from None
    numbers_and_names: dict[Any, int] = {**numbers, **index}
    return np.fromiter((numbers_and_names.get(value, NO_INDEX) for value in raw), np.int64, len(raw))


def _meaning(raw: Sequence[Any], truth: GroundTruth) -> dict[int, int]:
    """The class of each number by default: its place in the ground truth, or its category id."""
    places = {number: number for number in range(len(truth.classes))}
    by_number = by_id(truth.class_ids)
    labels = {value for value in raw if not isinstance(value, str)}
    ids = {label: index for label in labels if (index := by_number[label]) != NO_INDEX}
    labels &= ids.keys() | places.keys()  # a label of no class says nothing of the others
    if not labels or not labels <= ids.keys() or all(ids[label] == places.get(label) for label in labels):
        return places
    if labels <= places.keys():
        label = min(label for label in labels if ids[label] != label)
        found = (
            f"the label {label:g}, which may be the category id of {truth.classes[ids[label]]!r} or the "
            f"number of {truth.classes[places[label]]!r}, counted from 0"
        )
        expected = "names=dict(zip(truth.class_ids, truth.classes)) for ids, names=truth.classes for numbers"
        raise InputError(SOURCE, found, expected)
    return ids


def _key(key: Any) -> int | str:
    """An image's key as it is looked up."""
    whole = isinstance(key, int | np.integer) and not isinstance(key, bool)
    whole = whole or (isinstance(key, float | np.floating) and float(key).is_integer())
    return int(key) if whole else str(key)


def _prediction(where: str, one: Any, by_name: bool) -> ImagePrediction:
    """The columns of one image's prediction; `by_name`: the classes' names, where they are there."""
    if isinstance(one, Mapping):
        fields = {name: one.get(name) for name in ("boxes", "scores", "labels")}
        lacking = [name for name in fields if name not in one]
    else:
        fields = {name: getattr(one, name, None) for name in ("xyxy", "confidence", "class_id")}
        extra = getattr(one, "data", None)
        named = extra.get("class_name") if by_name and isinstance(extra, Mapping) else None
        if named is not None:
            fields["class_id"] = named
        lacking = [name for name, value in fields.items() if value is None]
        if fields["xyxy"] is not None and not len(fields["xyxy"]):  # supervision's empty one has only that
            return ImagePrediction(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    if lacking:
        raise InputError(where, f"a {type(one).__name__} without {', '.join(lacking)}", EXPECTED)
    boxes, scores, labels = (_array(where, field) for field in fields.values())
    count = len(scores) if scores.ndim == 1 else -1
    if boxes.size == 0:
        boxes = boxes.reshape(-1, 4)
    if scores.shape != (count,) or boxes.shape != (count, 4) or labels.shape != (count,):
        shapes = ", ".join(str(array.shape) for array in (boxes, scores, labels))
        raise InputError(where, f"arrays of shapes {shapes}", "boxes (n, 4), scores (n,), labels (n,)")
    for name, array in (("boxes", boxes), ("scores", scores)):
        if array.dtype.kind not in "iuf":
            raise InputError(f"{where}: {name}", f"values of type {array.dtype}", "numbers")
    if labels.dtype.kind not in "iufUT" and not all(isinstance(label, str) for label in labels):
        found = f"values of type {labels.dtype}" if labels.dtype.kind != "O" else short_repr(labels.tolist())
        raise InputError(f"{where}: labels", found, "numbers or names of classes")
    return ImagePrediction(boxes.astype(np.float64), scores.astype(np.float64), labels)


def _array(where: str, values: Any) -> NDArray[Any]:
    """`values` as an array; tensors are taken to the CPU first, without their history."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(where, "an array with masked values", "arrays without: leave masked rows out")
    try:
        if hasattr(values, "detach"):
            values = values.detach()
            if values.is_floating_point():  # NumPy has no bfloat16; whole numbers stay exact
                values = values.double()
            values = values.cpu()
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(where, f"what makes no array ({error})", EXPECTED) from None
