"""Boxes to grid and back, objects that share a cell, and non-maximum suppression."""

from typing import NamedTuple

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


class Scene(NamedTuple):
    """Objects, each with its centre inside a cell of its own, and the grid they belong on."""

    boxes: Tensor
    labels: Tensor
    image_index: Tensor
    cells: list[tuple[int, int, int]]
    images: int
    image_size: tuple[int, int]
    grid: tuple[int, int]

    def encoded(self, difficult: Tensor | None = None) -> GridTargets:
        hard = torch.zeros(len(self.labels), dtype=torch.bool) if difficult is None else difficult
        return encode(
            self.boxes,
            self.labels,
            self.image_index,
            hard,
            images=self.images,
            image_size=self.image_size,
            grid=self.grid,
        )


CLASSES = 3


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
    return Scene(
        torch.tensor(boxes, dtype=dtype).reshape(-1, 4),
        torch.tensor([draw(st.integers(0, CLASSES - 1)) for _ in cells], dtype=torch.int64),
        torch.tensor([image for image, _, _ in cells], dtype=torch.int64),
        cells,
        images,
        (height, width),
        (rows, columns),
    )


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


def objects(**columns: list[object]) -> dict[str, Tensor]:
    return {name: torch.tensor(values) for name, values in columns.items()}


# ---------------------------------------------------------------- no objects


def test_no_objects() -> None:
    columns = gather_targets(
        [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}] * 2, torch.device("cpu")
    )
    targets = encode(*columns, images=2, image_size=(64, 96), grid=(2, 3))
    assert targets.positive.shape == targets.ignored.shape == targets.labels.shape == (2, 2, 3)
    assert targets.xywh.shape == (2, 2, 3, 4)
    assert not targets.positive.any()
    assert not targets.ignored.any()
    assert targets.dropped == 0


def test_no_detections() -> None:
    found = non_maximum_suppression(torch.zeros(2, 5, 4), torch.zeros(2, 5, 3), 0.01, 0.5, 10)
    for image in found:
        assert {name: tuple(value.shape) for name, value in image.items()} == {
            "boxes": (0, 4),
            "scores": (0,),
            "labels": (0,),
        }


# ---------------------------------------------------------------- round trip


@quick
@given(scenes(), st.integers(1, 3), st.data())
def test_round_trip(scene: Scene, boxes_per_cell: int, data: st.DataObject) -> None:
    responsible = data.draw(st.integers(0, boxes_per_cell - 1))
    targets = scene.encoded()
    assert sorted(map(tuple, targets.positive.nonzero().tolist())) == sorted(scene.cells)
    assert targets.dropped == 0
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
    w_h = targets.xywh[..., None, 2:]
    boxes = to_xyxy(targets.xywh[..., None, :2], w_h, scene.image_size)[targets.positive][:, 0]
    through_roots = to_xyxy(targets.xywh[..., None, :2], w_h.sqrt().square(), scene.image_size)
    order = sorted(range(len(scene.cells)), key=lambda number: scene.cells[number])
    torch.testing.assert_close(boxes, scene.boxes[order], rtol=0, atol=2e-4)
    torch.testing.assert_close(through_roots[targets.positive][:, 0], scene.boxes[order], rtol=0, atol=2e-4)


def test_channels_by_hand() -> None:
    outputs = torch.arange(13.0).view(1, 13, 1, 1)
    prediction = split_outputs(outputs, 2)
    assert prediction.xy[0, 0, 0].tolist() == [[0, 1], [5, 6]]
    assert prediction.root_wh[0, 0, 0].tolist() == [[2, 3], [7, 8]]
    assert prediction.confidence[0, 0, 0].tolist() == [4, 9]
    assert prediction.classes[0, 0, 0].tolist() == [10, 11, 12]


def test_row_and_column_are_not_mixed_up() -> None:
    # 60 wide and 40 high, on 2 rows of 3 columns: cells of 20×20; the centre (50, 10) is in the first row.
    boxes, labels, index, difficult = gather_targets(
        [objects(boxes=[[45.0, 5.0, 55.0, 15.0]], labels=[2])], torch.device("cpu")
    )
    targets = encode(boxes, labels, index, difficult, images=1, image_size=(40, 60), grid=(2, 3))
    assert targets.positive[0].tolist() == [[False, False, True], [False, False, False]]
    assert targets.labels[0, 0, 2] == 2
    torch.testing.assert_close(targets.xywh[0, 0, 2], torch.tensor([0.5, 0.5, 1 / 6, 0.25]))


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


def place(boxes: list[list[float]], difficult: list[bool], labels: list[int] | None = None) -> GridTargets:
    """Objects of one image of 40×40 pixels on a grid of 2×2."""
    count = len(boxes)
    return encode(
        torch.tensor(boxes),
        torch.tensor(labels or list(range(count))),
        torch.zeros(count, dtype=torch.int64),
        torch.tensor(difficult),
        images=1,
        image_size=(40, 40),
        grid=(2, 2),
    )


def test_centre_on_the_right_and_lower_border() -> None:
    targets = place([[40.0, 30.0, 40.0, 50.0]], [False])
    assert targets.positive[0].tolist() == [[False, False], [False, True]]
    assert targets.xywh[0, 1, 1].tolist() == [1, 1, 0, 0.5]
    boxes = to_xyxy(targets.xywh[..., None, :2], targets.xywh[..., None, 2:], (40, 40))
    assert boxes[0, 1, 1, 0].tolist() == [40, 30, 40, 50]


def test_centre_between_cells_belongs_to_the_later_one() -> None:
    targets = place([[10.0, 10.0, 30.0, 30.0]], [False])
    assert targets.positive[0].tolist() == [[False, False], [False, True]]
    assert targets.xywh[0, 1, 1].tolist() == [0, 0, 0.5, 0.5]


@pytest.mark.parametrize("larger_first", [True, False])
def test_of_two_in_a_cell_the_larger_stays(larger_first: bool) -> None:
    larger, smaller = [2.0, 2.0, 18.0, 18.0], [8.0, 8.0, 12.0, 12.0]
    boxes = [larger, smaller] if larger_first else [smaller, larger]
    targets = place([*boxes, [22.0, 2.0, 30.0, 8.0]], [False] * 3)
    assert targets.positive[0].tolist() == [[True, True], [False, False]]
    assert targets.labels[0, 0, 0] == (0 if larger_first else 1)
    torch.testing.assert_close(targets.xywh[0, 0, 0], torch.tensor([0.5, 0.5, 0.4, 0.4]))
    assert targets.dropped == 1


def test_area_counts_and_not_one_side() -> None:
    targets = place([[0.0, 9.0, 20.0, 11.0], [6.0, 6.0, 14.0, 14.0]], [False, False])
    assert targets.labels[0, 0, 0] == 1


def test_a_plain_object_comes_before_a_larger_difficult_one() -> None:
    targets = place([[8.0, 8.0, 12.0, 12.0], [2.0, 2.0, 18.0, 18.0]], [False, True])
    assert targets.positive[0].tolist() == [[True, False], [False, False]]
    assert not targets.ignored.any()
    assert targets.labels[0, 0, 0] == 0
    assert targets.dropped == 0  # difficult ones are not missed


def test_difficult_objects_only() -> None:
    targets = place([[8.0, 8.0, 12.0, 12.0], [2.0, 2.0, 18.0, 18.0], [22.0, 2.0, 30.0, 8.0]], [True] * 3)
    assert not targets.positive.any()
    assert targets.ignored[0].tolist() == [[True, True], [False, False]]
    assert targets.dropped == 0


@quick
@given(st.data())
def test_shared_cells_against_a_loop(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    corner = torch.rand(count, 2, generator=random, dtype=torch.float64) * 30
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=random, dtype=torch.float64) * 10], 1)
    index = torch.randint(2, (count,), generator=random)
    difficult = torch.rand(count, generator=random) < 0.4
    targets = encode(
        boxes,
        torch.arange(count),
        index,
        difficult,
        images=2,
        image_size=(40, 40),
        grid=(2, 2),
    )
    dropped = 0
    for image in range(2):
        for row in range(2):
            for column in range(2):
                here = [
                    number
                    for number in range(count)
                    if index[number] == image
                    and float(boxes[number, 0] + boxes[number, 2]) // 40 == column
                    and float(boxes[number, 1] + boxes[number, 3]) // 40 == row
                ]
                area = {n: float((boxes[n, 2] - boxes[n, 0]) * (boxes[n, 3] - boxes[n, 1])) for n in here}
                plain = [number for number in here if not difficult[number]]
                dropped += max(len(plain) - 1, 0)
                where = (image, row, column)
                assert targets.positive[where] == bool(plain)
                assert targets.ignored[where] == (bool(here) and not plain)
                if here:
                    assert targets.labels[where] == max(plain or here, key=lambda number: area[number])
    assert targets.dropped == dropped


def test_columns_of_a_batch() -> None:
    boxes, labels, index, difficult = gather_targets(
        [
            objects(boxes=[[1, 2, 3, 4], [5, 6, 7, 8]], labels=[1, 2], difficult=[0, 1]),
            {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
            objects(boxes=[[9.5, 9.5, 10.5, 10.5]], labels=[0]),
        ],
        torch.device("cpu"),
    )
    assert boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9.5, 9.5, 10.5, 10.5]]
    assert labels.tolist() == [1, 2, 0]
    assert index.tolist() == [0, 0, 2]
    assert difficult.tolist() == [False, True, False]
    assert (boxes.dtype, labels.dtype, difficult.dtype) == (torch.float32, torch.int64, torch.bool)


def test_columns_of_no_images() -> None:
    boxes, labels, index, difficult = gather_targets([], torch.device("cpu"))
    assert boxes.shape == (0, 4)
    assert labels.shape == index.shape == difficult.shape == (0,)
    assert (labels.dtype, index.dtype, difficult.dtype) == (torch.int64, torch.int64, torch.bool)


@pytest.mark.parametrize(("name", "values"), [("boxes", [[1, 2, 3, 4]] * 3), ("difficult", [True])])
def test_columns_of_unequal_length(name: str, values: list[object]) -> None:
    right = objects(boxes=[[1, 2, 3, 4]] * 2, labels=[0, 1], difficult=[False, True])
    with pytest.raises(ValueError, match=rf"targets\[1\] has {len(values)} {name} and 2 labels"):
        gather_targets([right, right | objects(**{name: values})], torch.device("cpu"))


# ---------------------------------------------------------------- non-maximum suppression


def overlap(a: list[float], b: list[float]) -> float:
    inner = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


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
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, count, 2, generator=random) * 20
    boxes = torch.cat([corner, corner + 5 + torch.rand(2, count, 2, generator=random) * 20], 2)
    scores = torch.rand(2, count, CLASSES, generator=random)
    found = non_maximum_suppression(boxes, scores, score_threshold, iou_threshold, limit)
    assert len(found) == 2
    for image in range(2):
        kept: list[tuple[float, int, int]] = []
        candidates = sorted(
            (
                (float(scores[image, box, label]), box, label)
                for box in range(count)
                for label in range(CLASSES)
                if float(scores[image, box, label]) >= score_threshold
            ),
            reverse=True,
        )
        for score, box, label in candidates:
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


def test_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]]).unsqueeze(0)
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.7]]).unsqueeze(0)
    (found,) = non_maximum_suppression(boxes, scores, 0.5, 0.5, 10)
    assert found["labels"].tolist() == [0, 1]
    assert found["scores"].equal(torch.tensor([0.9, 0.7]))


def test_many_candidates_are_treated_like_few() -> None:
    # torchvision takes another road beyond 1,000 candidates on a CPU.
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(1, 700, 2, generator=random) * 200
    boxes = torch.cat([corner, corner + 10 + torch.rand(1, 700, 2, generator=random) * 30], 2)
    scores = torch.rand(1, 700, 2, generator=random)
    (together,) = non_maximum_suppression(boxes, scores, 0.0, 0.5, 10_000)
    for label in range(2):
        (alone,) = non_maximum_suppression(boxes, scores[..., label : label + 1], 0.0, 0.5, 10_000)
        assert together["scores"][together["labels"] == label].equal(alone["scores"])
        assert together["boxes"][together["labels"] == label].equal(alone["boxes"])
    assert together["scores"].diff().max() <= 0
