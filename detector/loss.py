"""YOLO v1's loss (Redmon et al., 2016, equation 3): a sum of squared errors over the grid."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from detector.grid import GridTargets, Prediction, to_xyxy

__all__ = ["LossWeights", "YOLOLoss", "paired_iou", "yolo_loss"]


class LossWeights(NamedTuple):
    """The weights of the parts of the loss; the defaults are YOLO v1's."""

    coordinates: float = 5.0
    """λ_coord, of centres and sizes."""
    background: float = 0.5
    """λ_noobj, of the confidence of boxes that are responsible for no object."""


class YOLOLoss(NamedTuple):
    """The loss and its parts, each weighted, summed over the grid and averaged over the images."""

    total: Tensor
    """The sum of the five parts."""
    centre: Tensor
    """Squared errors of x and y of the responsible boxes, in cells."""
    size: Tensor
    """Squared errors of √w and √h of the responsible boxes."""
    confidence: Tensor
    """Squared errors of the responsible boxes' confidence; its target is their IoU with the object."""
    background: Tensor
    """Squared confidences of all other boxes; not the error type."""
    classes: Tensor
    """Squared errors of the class probabilities of cells with an object."""
    without_cell: Tensor
    """Number of objects that no cell took (:class:`~detector.grid.GridTargets`); not in `total`."""


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes one to one, xyxy ``(…, 4)`` and ``(…, 4)`` to ``(…)``; 0 where neither has area."""
    inner = (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    return inner / union.clamp(min=torch.finfo(union.dtype).tiny)


def yolo_loss(
    prediction: Prediction,
    targets: GridTargets,
    weights: LossWeights | None = None,
    class_weights: Tensor | None = None,
) -> YOLOLoss:
    """The loss of a batch, finite with finite gradients for outputs of up to 1e9, with and without objects.

    In a cell with an object the box with the largest IoU is responsible for it (where none overlaps it, the
    box with the smallest squared error, as in Darknet). Its confidence should equal that IoU, taken as a
    constant. Cells that hold difficult objects only are ignored.
    """
    weights = weights or LossWeights()
    images = len(prediction.xy)
    boxes_per_cell = prediction.confidence.shape[-1]
    xy = targets.xywh[..., None, :2]  # (N, S, S, 1, 2)
    root_wh = targets.xywh[..., None, 2:].clamp(min=0).sqrt()

    with torch.no_grad():
        unit = (1, 1)  # IoU does not depend on the unit
        iou = paired_iou(
            to_xyxy(prediction.xy, prediction.root_wh.clamp(min=0).square(), unit),
            to_xyxy(xy, root_wh.square(), unit).expand(*prediction.confidence.shape, 4),
        )  # (N, S, S, B)
        distance = (prediction.xy - xy).square().sum(-1) + (prediction.root_wh - root_wh).square().sum(-1)
        best = torch.where(iou.amax(-1, keepdim=True) > 0, iou, -distance).argmax(-1)
        responsible = targets.positive.unsqueeze(-1) & (
            best.unsqueeze(-1) == torch.arange(boxes_per_cell, device=best.device)
        )
        not_responsible = ~responsible & ~targets.ignored.unsqueeze(-1)

    def summed(errors: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, errors, errors.new_zeros(())).sum() / max(images, 1)

    centre = weights.coordinates * summed((prediction.xy - xy).square().sum(-1), responsible)
    size = weights.coordinates * summed((prediction.root_wh - root_wh).square().sum(-1), responsible)
    confidence = summed((prediction.confidence - iou).square(), responsible)
    background = weights.background * summed(prediction.confidence.square(), not_responsible)
    one_hot = F.one_hot(targets.labels, prediction.classes.shape[-1]).to(prediction.classes.dtype)
    errors = (prediction.classes - one_hot).square().sum(-1)
    if class_weights is not None:  # (C,), of an object by its class
        errors = errors * class_weights[targets.labels]
    classes = summed(errors, targets.positive)
    total = centre + size + confidence + background + classes
    return YOLOLoss(total, centre, size, confidence, background, classes, targets.without_cell)
