"""The error breakdown as a torchmetrics metric: watch localization errors fall while a detector trains.

The one module here that imports torch. It only collects; the numbers are those of
:func:`diagnosis.breakdown.break_down` and :func:`diagnosis.average_precision.average_precision`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from data.records import Detections, GroundTruth, InputError
from diagnosis.average_precision import AP_KINDS, average_precision
from diagnosis.breakdown import CORRECT_IOU, ERROR_NAMES, Top, break_down
from diagnosis.matching import match
from diagnosis.similar import similar_matrix

__all__ = ["ErrorBreakdown"]

STATES = (
    "image_ids", "sizes", "object_counts", "object_boxes", "object_labels", "object_flags",
    "found_counts", "found_boxes", "found_scores", "found_labels",
)  # fmt: skip
"""Lists of tensors, flat and of one dtype: what torchmetrics supposes of a process that has seen no image."""
UNNAMED = -1  # an image without `image_id`
FLAGS = {"difficult": 1, "iscrowd": 2}  # bits of `object_flags`


class ErrorBreakdown(Metric):
    """Shares of the error types among the top detections, and mean average precision.

    Use it as any metric of torchmetrics: ``update`` with each batch, ``compute`` at the end of the epoch,
    ``reset``. Over several processes (DDP) the images of all are judged together, and each process gets the
    same numbers.

    Parameters
    ----------
    classes
        Names of the classes, or how many there are.
    similar
        Groups of names of similar classes, as for :func:`diagnosis.similar.similar_matrix`.
    top, iou
        As in :func:`diagnosis.diagnose`.
    ap
        Which average precision ``map`` is: a column of :class:`diagnosis.average_precision.APTable`.
    pooled
        Pool the detections of all classes; by default the classes' shares are averaged.
    per_class
        Also give each class's numbers, as ``correct/dog`` and ``map/dog``.
    **options
        Options of :class:`torchmetrics.Metric`.

    Raises
    ------
    InputError
        An unknown `ap` or class in `similar`.

    Examples
    --------
    >>> import torch
    >>> metric = ErrorBreakdown(["cat", "dog"])
    >>> found = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "scores": torch.tensor([0.9]),
    ...          "labels": torch.tensor([1])}
    >>> truth = {"boxes": torch.tensor([[4.0, 0, 14, 10]]), "labels": torch.tensor([1])}
    >>> metric.update([found], [truth])
    >>> {name: value.item() for name, value in metric.compute().items() if value > 0}
    {'localization': 1.0}
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(
        self,
        classes: Sequence[str] | int,
        similar: Iterable[Iterable[str]] = (),
        *,
        top: Top = None,
        iou: float = CORRECT_IOU,
        ap: str = "area",
        pooled: bool = False,
        per_class: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if ap not in AP_KINDS:
            raise InputError("ap", repr(ap), f"one of {', '.join(AP_KINDS)}")
        self.classes = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
        self.similar = similar_matrix(self.classes, similar)
        self.top, self.iou, self.ap = top, iou, ap
        self.pooled, self.per_class = pooled, per_class
        self.set_dtype(torch.float64)
        for name in STATES:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, preds: Sequence[Mapping[str, Tensor]], target: Sequence[Mapping[str, Any]]) -> None:
        """Take in a batch.

        Parameters
        ----------
        preds
            For each image ``boxes`` (n, 4) xyxy in pixels, ``scores`` (n,) and ``labels`` (n,).
        target
            For each image ``boxes`` (m, 4) in the same pixels and ``labels`` (m,). Optional: ``difficult``
            (m,) and ``iscrowd`` (m,), objects neither rewarded nor punished; ``size``, height and width, to
            which detections then are clipped, as Hoiem's tool does; ``image_id``, a number: an image that
            comes twice, as when processes are padded to equal lengths, counts once.

        Raises
        ------
        InputError
            Lists of different lengths, a missing key, columns of different lengths; a label that is no class,
            a score or box that is not finite, an inverted box or an object without area.
        """
        if len(preds) != len(target):
            raise InputError("preds", f"{len(preds)} images", f"as many as in target: {len(target)}")
        columns: dict[str, list[Tensor]] = {name: [] for name in STATES}
        for index, (found, truth) in enumerate(zip(preds, target, strict=True)):
            boxes, labels, scores = _columns(f"preds[{index}]", found, "labels", "scores")
            columns["found_counts"].append(torch.tensor([len(boxes)]))
            columns["found_boxes"].append(boxes.reshape(-1))
            columns["found_labels"].append(labels)
            columns["found_scores"].append(scores)
            where, given = f"target[{index}]", [flag for flag in FLAGS if flag in truth]
            boxes, labels, *values = _columns(where, truth, "labels", *given)
            flags = torch.zeros(len(boxes), device=boxes.device)
            for flag, column in zip(given, values, strict=True):
                for row in torch.nonzero((column != 0) & (column != 1))[:1, 0].tolist():
                    raise InputError(f"{where}[{flag!r}][{row}]", f"{column[row]:g}", "0 or 1")
                flags += FLAGS[flag] * column.to(flags)
            columns["object_counts"].append(torch.tensor([len(boxes)]))
            columns["object_boxes"].append(boxes.reshape(-1))
            columns["object_labels"].append(labels)
            columns["object_flags"].append(flags)
            size = torch.as_tensor(truth.get("size", (0, 0))).reshape(-1)
            if len(size) != 2:
                raise InputError(f"{where}['size']", f"{len(size)} numbers", "height and width")
            columns["sizes"].append(size)
            columns["image_ids"].append(torch.as_tensor(truth.get("image_id", UNNAMED)).reshape(-1)[:1])
        count = len(self.classes)
        for where, name in (("preds", "found"), ("target", "object")):
            parts, known = columns[f"{name}_labels"], f"0 to {count - 1}"
            _refuse(where, "labels", parts, lambda a: (a < 0) | (a >= count) | (a != a.floor()), known)
            by_image = [part.reshape(-1, 4) for part in columns[f"{name}_boxes"]]
            _refuse(where, "boxes", by_image, lambda a: ~a.isfinite().all(1), "finite numbers")
            _refuse(where, "boxes", by_image, *INVERTED[where])
        _refuse("preds", "scores", columns["found_scores"], lambda a: ~a.isfinite(), "a finite number")
        # A device without float64 holds what it can.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        for name, parts in columns.items():
            if parts:
                whole = torch.cat([part.detach().to(self.device, dtype) for part in parts])
                getattr(self, name).append(whole)

    def compute(self) -> dict[str, Tensor]:
        """The share of each error type and ``map``; NaN where there is nothing to count."""
        truth, found, clip = self._records()
        matching = match(truth, found, clip=clip)
        breakdown = break_down(matching, self.similar, self.top, iou=self.iou)
        scores = average_precision(truth, found, matching, iou=self.iou, coco=AP_KINDS[self.ap].has_fixed_iou)
        shares = breakdown.pooled() if self.pooled else breakdown.mean_over_classes()
        names = [*ERROR_NAMES, "map"]
        values = dict(zip(names, [*shares.tolist(), scores.mean()[self.ap]], strict=True))
        if self.per_class:
            each = np.column_stack([breakdown.shares, getattr(scores, self.ap)])
            for class_name, row in zip(self.classes, each.tolist(), strict=True):
                values |= dict(zip((f"{name}/{class_name}" for name in names), row, strict=True))
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}

    def _records(self) -> tuple[GroundTruth, Detections, bool]:
        """What was collected, each image once, by number where all have one; and whether to clip."""
        ids, sizes = self._state("image_ids").astype(np.int64), self._state("sizes").reshape(-1, 2)
        _, first = np.unique(ids, return_index=True)
        named = ids != UNNAMED
        kept = first if named.all() else np.union1d(first[ids[first] != UNNAMED], np.flatnonzero(~named))
        position = np.full(len(ids), -1)
        position[kept] = np.arange(len(kept))

        def rows(counts: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            """Rows of the images that are kept, by image, and the place of their images."""
            image = position[np.repeat(np.arange(len(ids)), self._state(counts).astype(np.int64))]
            some = np.flatnonzero(image >= 0)
            some = some[np.argsort(image[some], kind="stable")]
            return some, image[some]

        objects, image = rows("object_counts")
        boxes = self._state("object_boxes").reshape(-1, 4)[objects]
        sized = bool(len(ids)) and bool((sizes > 0).all())
        pixels = sizes[kept, ::-1] if sized else np.ones((len(kept), 2))
        flags = self._state("object_flags")[objects].astype(np.int64)
        truth = GroundTruth(
            [str(number) for number in range(len(kept))],
            self.classes,
            pixels,
            image,
            self._state("object_labels")[objects],
            boxes,
            (flags & 1) > 0,
            (flags & 2) > 0,
        )
        detections, image = rows("found_counts")
        found = Detections(
            truth.images,
            self.classes,
            image,
            self._state("found_labels")[detections],
            self._state("found_scores")[detections],
            self._state("found_boxes").reshape(-1, 4)[detections],
        )
        return truth, found, sized

    def _state(self, name: str) -> NDArray[np.float64]:
        """A state, on the CPU: a list of what each batch brought, or one tensor after processes have met."""
        value: list[Tensor] | Tensor = getattr(self, name)
        parts = [value] if isinstance(value, Tensor) else value
        return np.concatenate([np.zeros(0), *(part.double().cpu().numpy() for part in parts)])


INVERTED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "preds": (
        lambda boxes: (boxes[:, 2:] < boxes[:, :2]).any(1),
        "xyxy with xmin <= xmax and ymin <= ymax",
    ),
    "target": (
        lambda boxes: (boxes[:, 2:] <= boxes[:, :2]).any(1),
        "xyxy with a box of positive area",
    ),
}
"""Which boxes are wrong, and what they should be."""


def _refuse(
    where: str, name: str, parts: Sequence[Tensor], wrong: Callable[[Tensor], Tensor], expected: str
) -> None:
    """Raise an InputError for the first row of a batch (a tensor an image) that is `wrong`."""
    for index, part in enumerate(parts):
        if part.dtype == torch.bool:
            raise InputError(f"{where}[{index}]['{name}']", "truth values", "numbers")
    if not any(map(len, parts)) or not wrong(torch.cat(list(parts))).any():  # one look at the whole batch
        return
    for index, part in enumerate(parts):
        for row in wrong(part).nonzero()[:1, 0].tolist():
            raise InputError(f"{where}[{index}]['{name}'][{row}]", str(part[row].tolist()), expected)


def _columns(where: str, image: Mapping[str, Any], *names: str) -> list[Tensor]:
    """Boxes and further columns of an image, of equal lengths."""
    columns: list[Tensor] = []
    for name in ("boxes", *names):
        if name not in image:
            raise InputError(where, f"the keys {', '.join(image)}", f"{name!r} among them")
        values = torch.as_tensor(image[name])
        if name == "boxes" and values.numel() == 0:
            values = values.reshape(0, 4)
        shape, place = f"shape {tuple(values.shape)}", f"{where}[{name!r}]"
        if name == "boxes" and (values.ndim != 2 or values.shape[1] != 4):
            raise InputError(place, shape, "shape (any, 4)")
        if columns and values.shape != (len(columns[0]),):
            raise InputError(place, shape, f"shape ({len(columns[0])},), as the boxes")
        columns.append(values)
    return columns
