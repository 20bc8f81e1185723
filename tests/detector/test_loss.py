"""The loss against a plain loop over cells and objects, its gradients, and its behaviour at the extremes."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.grid import GridTargets, encode, split_outputs
from detector.loss import LossWeights, YOLOLoss, paired_iou, yolo_loss

PARTS = ("centre", "size", "confidence", "background", "classes")
SIZE = (60, 90)  # height and width of all images here

Box = tuple[float, float, float, float]
Object = tuple[int, Box, int, bool]  # image, xyxy, label, difficult


def encoded(objects: list[Object], images: int, grid: tuple[int, int]) -> GridTargets:
    return encode(
        torch.tensor([box for _, box, _, _ in objects], dtype=torch.float64).reshape(-1, 4),
        torch.tensor([label for _, _, label, _ in objects], dtype=torch.int64),
        torch.tensor([image for image, _, _, _ in objects], dtype=torch.int64),
        torch.tensor([difficult for _, _, _, difficult in objects], dtype=torch.bool),
        images=images,
        image_size=SIZE,
        grid=grid,
    )


def iou_of(a: Box, b: Box) -> float:
    inner = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner / union if union > 0 else 0.0


def reference(
    outputs: Tensor, objects: list[Object], boxes_per_cell: int, weights: LossWeights
) -> dict[str, Any]:
    """YOLO v1's equation 3, one term after the other."""
    images, channels, rows, columns = outputs.shape
    values = outputs.detach()
    height, width = SIZE
    total: dict[str, Any] = {part: outputs.sum() * 0 for part in PARTS}
    without_cell = 0
    for image in range(images):
        for row in range(rows):
            for column in range(columns):
                cell = outputs[image, :, row, column]
                predicted = [cell[5 * number : 5 * number + 5] for number in range(boxes_per_cell)]
                here = []
                for its_image, box, label, difficult in objects:
                    x, y = (box[0] + box[2]) / 2 / width * columns, (box[1] + box[3]) / 2 / height * rows
                    if (its_image, int(y), int(x)) == (image, row, column):
                        area = (box[2] - box[0]) * (box[3] - box[1])
                        here.append((not difficult, area, box, label, x, y))
                plain = [item for item in here if item[0]]
                without_cell += max(len(plain) - 1, 0)
                if here and not plain:
                    continue  # difficult objects only
                responsible = None
                if plain:
                    _, _, box, label, x, y = max(here)
                    w, h = (box[2] - box[0]) / width, (box[3] - box[1]) / height
                    overlaps, distances = [], []
                    for number in range(boxes_per_cell):
                        px, py, pw, ph = values[image, 5 * number : 5 * number + 4, row, column].tolist()
                        centre_x, centre_y = (column + px) * width / columns, (row + py) * height / rows
                        half_w, half_h = max(pw, 0) ** 2 * width / 2, max(ph, 0) ** 2 * height / 2
                        upper, lower = (
                            (centre_x - half_w, centre_y - half_h),
                            (centre_x + half_w, centre_y + half_h),
                        )
                        overlaps.append(iou_of((*upper, *lower), box))
                        wanted = (x - column, y - row, math.sqrt(w), math.sqrt(h))
                        distances.append(math.dist((px, py, pw, ph), wanted))
                    if max(overlaps) > 0:
                        responsible = overlaps.index(max(overlaps))
                    else:
                        responsible = distances.index(min(distances))
                    its_x, its_y, its_w, its_h, confidence = predicted[responsible]
                    centre = (its_x - (x - column)) ** 2 + (its_y - (y - row)) ** 2
                    size = (its_w - math.sqrt(w)) ** 2 + (its_h - math.sqrt(h)) ** 2
                    total["centre"] = total["centre"] + weights.coordinates * centre
                    total["size"] = total["size"] + weights.coordinates * size
                    total["confidence"] += (confidence - overlaps[responsible]) ** 2
                    for number in range(channels - 5 * boxes_per_cell):
                        total["classes"] += (cell[5 * boxes_per_cell + number] - float(number == label)) ** 2
                for number in range(boxes_per_cell):
                    if number != responsible:
                        total["background"] += weights.background * predicted[number][4] ** 2
    return {name: value / images for name, value in total.items()} | {"without_cell": without_cell}


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tensor, list[Object], int]:
    images, boxes_per_cell, classes, rows, columns = (draw(st.integers(1, most)) for most in (2, 3, 4, 4, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 100_000)))
    objects: list[Object] = []
    for _ in range(draw(st.integers(0, 6))):
        x, y, w, h, label, image, hard = torch.rand(7, generator=random, dtype=torch.float64).tolist()
        centre_x, centre_y = x * SIZE[1], y * SIZE[0]
        half_w, half_h = w * min(centre_x, SIZE[1] - centre_x), h * min(centre_y, SIZE[0] - centre_y)
        box = (centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h)
        objects.append((int(image * images), box, int(label * classes), hard < 0.3))
    shape = (images, boxes_per_cell * 5 + classes, rows, columns)
    outputs = torch.randn(shape, generator=random, dtype=torch.float64)
    return outputs * draw(st.sampled_from([0.3, 1.0, 3.0])) + 0.5, objects, boxes_per_cell


def loss_from(outputs: Tensor, objects: list[Object], boxes_per_cell: int, **options: Any) -> YOLOLoss:
    targets = encoded(objects, len(outputs), (outputs.shape[2], outputs.shape[3]))
    return yolo_loss(split_outputs(outputs, boxes_per_cell), targets, **options)


# ---------------------------------------------------------------- values and gradients


@settings(deadline=None, max_examples=60)
@given(scenes(), st.sampled_from([LossWeights(), LossWeights(2.0, 0.25)]))
def test_against_a_loop(scene: tuple[Tensor, list[Object], int], weights: LossWeights) -> None:
    outputs, objects, boxes_per_cell = scene
    outputs.requires_grad_()
    found = loss_from(outputs, objects, boxes_per_cell, weights=weights)
    wanted = reference(outputs, objects, boxes_per_cell, weights)
    for name in PARTS:
        torch.testing.assert_close(getattr(found, name), wanted[name])
    torch.testing.assert_close(found.total, sum(wanted[name] for name in PARTS))
    assert found.without_cell == wanted["without_cell"]
    (gradient,) = torch.autograd.grad(found.total, outputs)
    (wanted_gradient,) = torch.autograd.grad(sum(wanted[name] for name in PARTS), outputs)
    torch.testing.assert_close(gradient, wanted_gradient)


OBJECT: Object = (0, (15.0, 15.0, 75.0, 45.0), 1, False)  # centred in one cell, 2/3 wide and half as high


def cell_of(*boxes: list[float], classes: tuple[float, ...] = (0.0, 1.0)) -> Tensor:
    """Outputs of one cell."""
    values = [number for box in boxes for number in box] + list(classes)
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1).requires_grad_()


def test_by_hand() -> None:
    narrow = [0.5, 0.5, math.sqrt(1 / 3), math.sqrt(1 / 2), 0.9]  # half of the object: IoU 0.5
    tiny = [0.3, 0.5, 0.1, 0.1, 0.4]
    loss = loss_from(cell_of(tiny, narrow, classes=(0.3, 0.6)), [OBJECT], 2)
    assert loss.centre.item() == pytest.approx(0)
    assert loss.size.item() == pytest.approx(5 * (math.sqrt(2 / 3) - math.sqrt(1 / 3)) ** 2)
    assert loss.confidence.item() == pytest.approx(0.4**2)
    assert loss.background.item() == pytest.approx(0.5 * 0.4**2)
    assert loss.classes.item() == pytest.approx(0.3**2 + 0.4**2)
    assert loss.total.item() == pytest.approx(sum(getattr(loss, part).item() for part in PARTS))


def test_where_no_box_overlaps_the_nearest_is_responsible() -> None:
    far, near = [9.0, 9.0, 0.1, 0.1, 0.5], [3.0, 3.0, 0.1, 0.1, 0.25]
    for first, second in ((far, near), (near, far)):
        loss = loss_from(cell_of(first, second), [OBJECT], 2)
        assert loss.confidence.item() == pytest.approx(0.25**2)
        assert loss.centre.item() == pytest.approx(5 * 2 * 2.5**2)


def test_an_overlap_in_another_cell_does_not_choose_the_box() -> None:
    # Two cells of one column: in the upper one no box overlaps the object, in the lower one both do.
    outputs = torch.zeros(1, 13, 2, 1, dtype=torch.float64)
    outputs[0, :, 0, 0] = torch.tensor([9.0, 9.0, 0.1, 0.1, 0.5, 3.0, 3.0, 0.1, 0.1, 0.25, 0, 0, 0])
    outputs[0, :, 1, 0] = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0, 0, 0])
    objects: list[Object] = [(0, (40.0, 12.0, 50.0, 18.0), 0, False), (0, (40.0, 42.0, 50.0, 48.0), 0, False)]
    loss = yolo_loss(split_outputs(outputs, 2), encoded(objects, 1, (2, 1)))
    assert loss.centre.item() == pytest.approx(5 * 2 * 2.5**2)


# ---------------------------------------------------------------- extremes


@pytest.mark.parametrize("width", [0.0, 1e-30])
def test_zero_width_boxes(width: float) -> None:
    for box in ((40.0, 10.0, 40.0 + width, 30.0), (40.0, 10.0, 40.0 + width, 10.0 + width)):
        outputs = cell_of([0.5, 0.5, 0.0, 0.0, 0.5], [0.0, 0.0, -0.5, 0.5, 0.0]).detach().float()
        outputs.requires_grad_()
        loss = loss_from(outputs, [(0, box, 0, False)], 2)
        assert loss.total.isfinite()
        (gradient,) = torch.autograd.grad(loss.total, outputs)
        assert gradient.isfinite().all()
        assert gradient[0, -2].item() < 0  # the object still teaches its class


@pytest.mark.parametrize("extreme", [50.0, -50.0, 1e4, -1e4, 1e9, -1e9])
@pytest.mark.parametrize("objects", [[], [OBJECT], [(0, (40.0, 10.0, 40.0, 30.0), 0, False)]])
def test_extreme_outputs(extreme: float, objects: list[Object]) -> None:
    random = torch.Generator().manual_seed(0)
    for outputs in (
        torch.full((1, 12, 2, 2), extreme),
        torch.randn(1, 12, 2, 2, generator=random) * extreme,
        torch.randn(1, 12, 2, 2, generator=random).sign() * extreme,
    ):
        outputs.requires_grad_()
        loss = loss_from(outputs, objects, 2)
        assert all(part.isfinite() for part in loss)
        (gradient,) = torch.autograd.grad(loss.total, outputs)
        assert gradient.isfinite().all()


def test_paired_iou() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 4, 4]])
    b = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [1, 0, 2, 1], [1, 1, 1, 1], [1, 1, 2, 3]])
    torch.testing.assert_close(paired_iou(a, b), torch.tensor([1, 1 / 3, 0, 0, 1 / 8]))
    assert paired_iou(a[:0], b[:0]).shape == (0,)
