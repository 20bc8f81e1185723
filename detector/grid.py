"""Boxes <-> the S×S×(B·5 + C) grid of YOLO v1 (Redmon et al., 2016, section 2).

Each cell predicts B boxes of five numbers and C class probabilities. The channels of an output are
``x, y, √w, √h, confidence`` of the first box, of the second …, then the classes: x and y within the cell, w
and h as fractions of the image. The outputs are linear, as YOLO v1's are: squared errors of a squashed output
have almost no gradient where it saturates, and confidence, whose targets are nearly all 0, would saturate.
The network predicts √w, not w, so that the loss has a finite gradient at zero width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms

__all__ = ["GridTargets", "Prediction", "decode", "encode", "non_maximum_suppression", "split_outputs"]


class Prediction(NamedTuple):
    """The outputs of a grid by kind. Targets are within 0 to 1; outputs need not be."""

    xy: Tensor
    """(N, S, S, B, 2) centre within the cell."""
    root_wh: Tensor
    """(N, S, S, B, 2) square roots of width and height as fractions of the image."""
    confidence: Tensor
    """(N, S, S, B) predicted IoU."""
    classes: Tensor
    """(N, S, S, C) class probabilities given that the cell holds an object."""


class GridTargets(NamedTuple):
    """The targets of a grid for a batch's objects.

    A cell takes one object: the largest whose centre lies in it, objects that are not difficult before
    difficult ones. The others are ignored by the loss.
    """

    positive: Tensor
    """(N, S, S) bool: the cell holds an object."""
    ignored: Tensor
    """(N, S, S) bool: the cell holds difficult objects only, and is ignored by the loss."""
    xywh: Tensor
    """(N, S, S, 4): x and y within the cell, w and h as fractions of the image."""
    labels: Tensor
    """(N, S, S) int64, 0 where there is no object."""
    without_cell: Tensor
    """() int64: objects, not difficult, whose cell took a larger one."""


def split_outputs(outputs: Tensor, boxes_per_cell: int) -> Prediction:
    """Split a grid's outputs ``(N, B·5 + C, S, S)`` by kind; B is `boxes_per_cell`."""
    cells = outputs.permute(0, 2, 3, 1)  # (N, S, S, B·5 + C)
    boxes = cells[..., : boxes_per_cell * 5].reshape(*cells.shape[:3], boxes_per_cell, 5)
    classes = cells[..., boxes_per_cell * 5 :]
    return Prediction(boxes[..., 0:2], boxes[..., 2:4], boxes[..., 4], classes)


def encode(
    boxes: Tensor,
    labels: Tensor,
    image_index: Tensor,
    difficult: Tensor,
    *,
    images: int,
    image_size: tuple[int, int],
    grid: tuple[int, int],
) -> GridTargets:
    """Put a batch's objects into the grid, without a loop over objects and without a GPU synchronisation.

    A centre on the right or lower border of the image belongs to the last cell.

    Parameters
    ----------
    boxes
        ``(M, 4)`` xyxy, pixels, of all objects of the batch.
    labels, image_index, difficult
        ``(M,)`` class, image within the batch, and whether it is difficult.
    images
        N.
    image_size, grid
        Height and width of the images in pixels, and of the grid in cells.
    """
    rows, columns = grid
    height, width = image_size
    cells = images * rows * columns
    left, top, right, bottom = boxes.unbind(1)
    x, y = (left + right) / 2 * (columns / width), (top + bottom) / 2 * (rows / height)  # in cells
    w, h = (right - left) / width, (bottom - top) / height
    column, row = x.floor().long().clamp(0, columns - 1), y.floor().long().clamp(0, rows - 1)
    cell = (image_index * rows + row) * columns + column

    # Order by cell, then difficult before plain, then by area: a cell's last object is its target.
    order = (w * h).argsort(stable=True)
    order = order[(~difficult[order]).to(torch.uint8).argsort(stable=True)]
    order = order[cell[order].argsort(stable=True)]
    ordered = cell[order]
    stays = torch.ones_like(difficult)
    stays[order[:-1]] = ordered[1:] != ordered[:-1]
    place = torch.where(stays, cell, cells)  # the others go to an extra cell, cut off below

    def to_grid(values: Tensor) -> Tensor:
        by_cell = values.new_zeros((cells + 1, *values.shape[1:]))
        by_cell[place] = values
        return by_cell[:cells].view(images, rows, columns, *values.shape[1:])

    occupied = to_grid(torch.ones_like(stays))
    is_difficult = to_grid(difficult)
    return GridTargets(
        positive=occupied & ~is_difficult,
        ignored=occupied & is_difficult,
        xywh=to_grid(torch.stack([x - column, y - row, w, h], dim=1)),
        labels=to_grid(labels),
        without_cell=(~stays & ~difficult).sum(),
    )


def to_xyxy(xy: Tensor, wh: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Boxes ``(N, S, S, B, 4)`` xyxy in pixels, not clipped.

    Parameters
    ----------
    xy, wh
        ``(N, S, S, B, 2)`` centres within their cells; widths and heights as fractions of the image.
    image_size
        Height and width, in pixels.
    """
    rows, columns = xy.shape[1:3]
    height, width = image_size
    row = torch.arange(rows, device=xy.device, dtype=xy.dtype).view(rows, 1, 1)
    column = torch.arange(columns, device=xy.device, dtype=xy.dtype).view(1, columns, 1)
    x = (xy[..., 0] + column) * (width / columns)
    y = (xy[..., 1] + row) * (height / rows)
    half_width, half_height = wh[..., 0] * (width / 2), wh[..., 1] * (height / 2)
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)


def decode(prediction: Prediction, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes and class scores of every box of every cell, for images of a height and width in pixels.

    Returns
    -------
    boxes
        ``(N, S·S·B, 4)`` xyxy, pixels, clipped to the image.
    scores
        ``(N, S·S·B, C)``: confidence times class probability (Redmon et al., equation 1), each within 0 to 1.
    """
    height, width = image_size
    boxes = to_xyxy(prediction.xy, prediction.root_wh.clamp(min=0).square(), image_size).flatten(1, 3)
    limit = boxes.new_tensor([width, height, width, height])
    boxes = boxes.clamp(min=torch.zeros_like(limit), max=limit)
    confidence, classes = prediction.confidence.clamp(0, 1), prediction.classes.clamp(0, 1)
    scores = confidence.unsqueeze(-1) * classes.unsqueeze(-2)  # (N, S, S, B, C)
    return boxes, scores.flatten(1, 3)


def non_maximum_suppression(
    boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, limit: int
) -> list[dict[str, Tensor]]:
    """Per-class non-maximum suppression of each image's boxes.

    Parameters
    ----------
    boxes, scores
        ``(N, K, 4)`` and ``(N, K, C)`` as of :func:`decode`. Each box is a candidate for every class.
    score_threshold, iou_threshold
        Lower scores are dropped; of two boxes of one class that overlap more, the better one remains.
    limit
        Largest number of detections for an image; the best remain.

    Returns
    -------
    list of dict
        For each image ``boxes`` (n, 4), ``scores`` (n,) and ``labels`` (n,), best first.

    Raises
    ------
    ValueError
        A threshold that no score or IoU can have, or a limit below 1.
    """
    if not score_threshold >= 0:
        raise ValueError(f"the score threshold must be 0 or more, found {score_threshold}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"the IoU threshold must be from 0 to 1, found {iou_threshold}")
    if limit < 1:
        raise ValueError(f"the detections of an image must be at least 1, found {limit}")
    found: list[dict[str, Tensor]] = []
    for image_boxes, image_scores in zip(boxes, scores, strict=True):
        box, label = (image_scores >= score_threshold).nonzero(as_tuple=True)
        score = image_scores[box, label]
        keep = batched_nms(image_boxes[box], score, label, iou_threshold)[:limit]
        found.append({"boxes": image_boxes[box[keep]], "scores": score[keep], "labels": label[keep]})
    return found


def gather_targets(
    targets: Sequence[dict[str, Tensor]], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch's lists of objects as columns on a device: boxes (M, 4), labels, image index, difficult (M,).

    Parameters
    ----------
    targets
        For each image ``boxes`` (n, 4) xyxy in pixels, ``labels`` (n,) and, where known, ``difficult`` (n,).

    Raises
    ------
    ValueError
        An image whose boxes and labels differ in number.
    """
    counts = [len(target["labels"]) for target in targets]
    for number, (target, count) in enumerate(zip(targets, counts, strict=True)):
        for name in ("boxes", "difficult"):
            if name in target and len(target[name]) != count:
                raise ValueError(
                    f"targets[{number}] has {len(target[name])} {name} and {count} labels; "
                    "expected as many of each"
                )
    if not targets:
        none = torch.zeros(0, dtype=torch.int64, device=device)
        return torch.zeros(0, 4, device=device), none, none, none.bool()
    # Built on the CPU from known sizes: no synchronisation with a GPU.
    image_index = torch.repeat_interleave(torch.arange(len(targets)), torch.tensor(counts, dtype=torch.int64))
    boxes = torch.cat([target["boxes"].reshape(-1, 4) for target in targets]).to(device, torch.float32)
    labels = torch.cat([target["labels"].reshape(-1) for target in targets]).to(device, torch.int64)
    marks = [target.get("difficult", torch.zeros_like(target["labels"])) for target in targets]
    difficult = torch.cat([mark.reshape(-1).bool() for mark in marks]).to(device)
    return boxes, labels, image_index.to(device, non_blocking=True), difficult
