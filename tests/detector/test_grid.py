"""Boxes to grid and back, objects that share a cell, and non-maximum suppression."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.grid import (
    GridTargets,
    Prediction,
    decode,
    encode,
    gather_targets,
    non_maximum_suppression,
    split_outputs,
    to_xyxy,
)

quick = settings(deadline=None, max_examples=50)
CPU = torch.device("cpu")
CLASSES = 3


class Scene(NamedTuple):
    """Objects, each with its centre inside its own cell, and the grid they belong on."""

    boxes: Tensor
    labels: Tensor
    cells: list[tuple[int, int, int]]
    images: int
    image_size: tuple[int, int]
    grid: tuple[int, int]

    def encoded(self) -> GridTargets:
        index = torch.tensor([image for image, _, _ in self.cells], dtype=torch.int64)
        plain = torch.zeros(len(self.cells), dtype=torch.bool)
        sizes = {"images": self.images, "image_size": self.image_size, "grid": self.grid}
        return encode(self.boxes, self.labels, index, plain, **sizes)  # type: ignore[arg-type]


@st.composite
def scenes(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Scene:
    images, rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    height, width = draw(st.integers(20, 500)), draw(st.integers(20, 500))
    cell = st.tuples(st.integers(0, images - 1), st.integers(0, rows - 1), st.integers(0, columns - 1))
    cells = draw(st.lists(cell, max_size=8, unique=True))
    fraction = st.floats(0.01, 0.99)
    boxes = []
    for _, row, column in cells:
        x = (column + draw(fraction)) * width / columns
        y = (row + draw(fraction)) * height / rows
        half_w, half_h = draw(fraction) * min(x, width - x), draw(fraction) * min(y, height - y)
        boxes.append([x - half_w, y - half_h, x + half_w, y + half_h])
    labels = torch.tensor([draw(st.integers(0, CLASSES - 1)) for _ in cells], dtype=torch.int64)
    laid = torch.tensor(boxes, dtype=dtype).reshape(-1, 4)
    return Scene(laid, labels, cells, images, (height, width), (rows, columns))


def outputs_for(targets: GridTargets, boxes_per_cell: int, responsible: int) -> Tensor:
    """The ``(N, B·5 + C, S, S)`` outputs of a network that is right about everything."""
    images, rows, columns = targets.labels.shape
    outputs = targets.xywh.new_zeros(images, boxes_per_cell * 5 + CLASSES, rows, columns)
    for image, row, column in targets.positive.nonzero().tolist():
        x, y, w, h = targets.xywh[image, row, column]
        box = torch.stack([x, y, w.sqrt(), h.sqrt(), torch.ones_like(x)])
        outputs[image, responsible * 5 : responsible * 5 + 5, row, column] = box
        outputs[image, boxes_per_cell * 5 + int(targets.labels[image, row, column]), row, column] = 1
    return outputs


def objects(**columns: list[Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(values) for name, values in columns.items()}


# ---------------------------------------------------------------- round trip


def test_no_objects() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    targets = encode(*gather_targets([nothing] * 2, CPU), images=2, image_size=(64, 96), grid=(2, 3))
    assert targets.positive.shape == targets.ignored.shape == targets.labels.shape == (2, 2, 3)
    assert targets.xywh.shape == (2, 2, 3, 4)
    assert not (targets.positive | targets.ignored).any()
    assert targets.without_cell == 0


@quick
@given(scenes(), st.integers(1, 3), st.data())
def test_round_trip(scene: Scene, boxes_per_cell: int, data: st.DataObject) -> None:
    responsible = data.draw(st.integers(0, boxes_per_cell - 1))
    targets = scene.encoded()
    assert sorted(map(tuple, targets.positive.nonzero().tolist())) == sorted(scene.cells)
    assert targets.without_cell == 0
    assert not targets.ignored.any()
    outputs = outputs_for(targets, boxes_per_cell, responsible)
    boxes, scores = decode(split_outputs(outputs, boxes_per_cell), scene.image_size)
    rows, columns = scene.grid
    assert boxes.shape == (scene.images, rows * columns * boxes_per_cell, 4)
    assert scores.shape == (scene.images, rows * columns * boxes_per_cell, CLASSES)
    assert scores.sum() == len(scene.cells)
    for box, label, (image, row, column) in zip(scene.boxes, scene.labels, scene.cells, strict=True):
        place = (row * columns + column) * boxes_per_cell + responsible
        assert scores[image, place, label] == 1
        torch.testing.assert_close(boxes[image, place], box, rtol=0, atol=1e-9)


@quick
@given(scenes(torch.float32))
def test_round_trip_in_single_precision(scene: Scene) -> None:
    targets = scene.encoded()
    xy, wh = targets.xywh[..., None, :2], targets.xywh[..., None, 2:]
    order = sorted(range(len(scene.cells)), key=lambda number: scene.cells[number])
    for sides in (wh, wh.sqrt().square()):  # as they are, and through the roots that the network puts out
        boxes = to_xyxy(xy, sides, scene.image_size)[targets.positive][:, 0]
        torch.testing.assert_close(boxes, scene.boxes[order], rtol=0, atol=2e-4)


def test_outputs_beyond_the_image_are_clipped() -> None:
    prediction = Prediction(
        torch.tensor([[0.5, 0.5], [-9.0, 9.0]]).view(1, 1, 1, 2, 2),
        torch.tensor([[2.0, -1.0], [0.5, 0.5]]).view(1, 1, 1, 2, 2),
        torch.tensor([1.5, -0.5]).view(1, 1, 1, 2),
        torch.tensor([1.25, 0.5, -3.0]).view(1, 1, 1, 3),
    )
    boxes, scores = decode(prediction, (10, 20))
    assert boxes[0].tolist() == [[0, 5, 20, 5], [0, 10, 0, 10]]
    assert scores[0].tolist() == [[1, 0.5, 0], [0, 0, 0]]


# ---------------------------------------------------------------- borders and shared cells

LARGE, SMALL, ELSEWHERE = [2.0, 2.0, 18.0, 18.0], [8.0, 8.0, 12.0, 12.0], [22.0, 2.0, 30.0, 8.0]
NARROW, SQUARE = [0.0, 9.0, 20.0, 11.0], [6.0, 6.0, 14.0, 14.0]


@pytest.mark.parametrize(
    ("boxes", "difficult", "positive", "ignored", "first_label", "without_cell"),
    [  # on 2×2 cells of 20×20 pixels; the object numbers are the labels
        ([LARGE, SMALL, ELSEWHERE], [0, 0, 0], [[1, 1], [0, 0]], [[0, 0], [0, 0]], 0, 1),
        ([SMALL, LARGE, ELSEWHERE], [0, 0, 0], [[1, 1], [0, 0]], [[0, 0], [0, 0]], 1, 1),
        ([NARROW, SQUARE], [0, 0], [[1, 0], [0, 0]], [[0, 0], [0, 0]], 1, 1),  # by area, not by one side
        ([SMALL, LARGE], [0, 1], [[1, 0], [0, 0]], [[0, 0], [0, 0]], 0, 0),  # difficult ones are not missed
        ([SMALL, LARGE, ELSEWHERE], [1, 1, 1], [[0, 0], [0, 0]], [[1, 1], [0, 0]], 1, 0),
        ([[10.0, 10.0, 30.0, 30.0]], [0], [[0, 0], [0, 1]], [[0, 0], [0, 0]], 0, 0),  # between two cells
        ([[-30.0, -50.0, 10.0, 10.0]], [0], [[1, 0], [0, 0]], [[0, 0], [0, 0]], 0, 0),  # outside: the nearest
    ],
)
def test_objects_in_cells(
    boxes: Any, difficult: Any, positive: Any, ignored: Any, first_label: int, without_cell: int
) -> None:
    count = len(boxes)
    index, hard = torch.zeros(count, dtype=torch.int64), torch.tensor(difficult).bool()
    sizes: Any = {"images": 1, "image_size": (40, 40), "grid": (2, 2)}
    targets = encode(torch.tensor(boxes), torch.arange(count), index, hard, **sizes)
    assert targets.positive[0].int().tolist() == positive
    assert targets.ignored[0].int().tolist() == ignored
    assert targets.labels[0, 0, 0] == first_label
    assert targets.without_cell == without_cell


def test_centre_on_the_right_and_lower_border() -> None:
    columns = gather_targets([objects(boxes=[[40.0, 30.0, 40.0, 50.0]], labels=[0])], CPU)
    targets = encode(*columns, images=1, image_size=(40, 40), grid=(2, 2))
    assert targets.positive[0].tolist() == [[False, False], [False, True]]
    assert targets.xywh[0, 1, 1].tolist() == [1, 1, 0, 0.5]
    boxes = to_xyxy(targets.xywh[..., None, :2], targets.xywh[..., None, 2:], (40, 40))
    assert boxes[0, 1, 1, 0].tolist() == [40, 30, 40, 50]


def test_columns_of_a_batch() -> None:
    boxes, labels, index, difficult = gather_targets(
        [
            objects(boxes=[[1, 2, 3, 4], [5, 6, 7, 8]], labels=[1, 2], difficult=[0, 1]),
            {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
            objects(boxes=[[9.5, 9.5, 10.5, 10.5]], labels=[0]),
        ],
        CPU,
    )
    assert boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9.5, 9.5, 10.5, 10.5]]
    assert labels.tolist() == [1, 2, 0]
    assert index.tolist() == [0, 0, 2]
    assert difficult.tolist() == [False, True, False]
    other = {"boxes": torch.ones(1, 4, dtype=torch.float64), "labels": torch.ones(1, dtype=torch.int32)}
    sent = gather_targets([other], torch.device("meta"))
    none = gather_targets([], CPU)
    assert [tuple(column.shape) for column in none] == [(0, 4), (0,), (0,), (0,)]
    types = [torch.float32, torch.int64, torch.int64, torch.bool]
    assert [column.dtype for column in (boxes, labels, index, difficult)] == types
    assert [column.dtype for column in none] == types
    assert [(column.dtype, column.device.type) for column in sent] == [(kind, "meta") for kind in types]


@pytest.mark.parametrize(("name", "values"), [("boxes", [[1, 2, 3, 4]] * 3), ("difficult", [True])])
def test_columns_of_unequal_length(name: str, values: list[Any]) -> None:
    right = objects(boxes=[[1, 2, 3, 4]] * 2, labels=[0, 1], difficult=[False, True])
    with pytest.raises(ValueError, match=rf"targets\[1\] has {len(values)} {name} and 2 labels"):
        gather_targets([right, right | objects(**{name: values})], CPU)


# ---------------------------------------------------------------- non-maximum suppression


def overlap(a: list[float], b: list[float]) -> float:
    inner = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def random_boxes(seed: int, images: int, count: int, classes: int, room: float) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(images, count, 2, generator=random) * room
    boxes = torch.cat([corner, corner + 5 + torch.rand(images, count, 2, generator=random) * 25], 2)
    return boxes, torch.rand(images, count, classes, generator=random)


@quick
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 30),
    score_threshold=st.floats(0, 1),
    iou_threshold=st.floats(0.05, 0.95),
    limit=st.integers(1, 40),
)
def test_suppression_against_a_loop(
    seed: int, count: int, score_threshold: float, iou_threshold: float, limit: int
) -> None:
    boxes, scores = random_boxes(seed, 2, count, CLASSES, 20)
    found = non_maximum_suppression(boxes, scores, score_threshold, iou_threshold, limit)
    assert len(found) == 2
    for image in range(2):
        kept: list[tuple[float, int, int]] = []
        candidates = (scores[image] >= score_threshold).nonzero().tolist()
        for score, box, label in sorted(
            ((float(scores[image, b, c]), b, c) for b, c in candidates), reverse=True
        ):
            overlaps = [
                overlap(boxes[image, box].tolist(), boxes[image, other].tolist())
                for _, other, its_label in kept
                if its_label == label
            ]
            assume(all(abs(value - iou_threshold) > 1e-4 for value in overlaps))
            if all(value <= iou_threshold for value in overlaps):
                kept.append((score, box, label))
        kept = kept[:limit]
        assert found[image]["scores"].tolist() == [score for score, _, _ in kept]
        assert found[image]["labels"].tolist() == [label for _, _, label in kept]
        assert found[image]["boxes"].equal(boxes[image, [box for _, box, _ in kept]])


def test_a_score_of_the_threshold_itself_stays() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]]])
    scores = torch.tensor([[[0.9, 0.0], [0.8, 0.7]]])
    (found,) = non_maximum_suppression(boxes, scores, 0.7, 0.5, 10)
    assert found["labels"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="zip"):
        non_maximum_suppression(boxes, scores[:0], 0.5, 0.5, 10)


def test_many_candidates_are_treated_like_few() -> None:
    # torchvision takes another road beyond 1,000 candidates on a CPU.
    boxes, scores = random_boxes(0, 1, 700, 2, 200)
    (together,) = non_maximum_suppression(boxes, scores, 0.0, 0.5, 10_000)
    for label in range(2):
        (alone,) = non_maximum_suppression(boxes, scores[..., label : label + 1], 0.0, 0.5, 10_000)
        assert together["scores"][together["labels"] == label].equal(alone["scores"])
        assert together["boxes"][together["labels"] == label].equal(alone["boxes"])
    assert together["scores"].diff().max() <= 0
