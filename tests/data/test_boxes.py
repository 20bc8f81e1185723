"""Box arithmetic."""

import numpy as np
import torch
from torchvision.ops import box_convert, box_iou

from data.boxes import area, clip, cxcywh_to_xyxy, intersection, xywh_to_xyxy


def random_boxes(count: int, seed: int) -> np.ndarray:
    corners = np.random.default_rng(seed).uniform(-20, 120, (count, 2, 2))
    return np.sort(corners, axis=1).reshape(count, 4)


def test_equal_to_torchvision() -> None:
    boxes, others = random_boxes(40, 0), random_boxes(30, 1)
    each = box_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()
    assert (each > 0).any()
    assert (each == 0).any()
    common = intersection(boxes[:, None], others)
    np.testing.assert_allclose(common / (area(boxes)[:, None] + area(others) - common), each, rtol=1e-12)
    np.testing.assert_array_equal(intersection(boxes[:30], others), common[range(30), range(30)])
    for convert, form in ((xywh_to_xyxy, "xywh"), (cxcywh_to_xyxy, "cxcywh")):
        expected = box_convert(torch.from_numpy(boxes), form, "xyxy").numpy()
        np.testing.assert_allclose(convert(boxes), expected, rtol=1e-12, atol=1e-12)


def test_no_boxes() -> None:
    none, some = np.zeros((0, 4)), random_boxes(3, 0)
    assert area(none).shape == (0,)
    assert clip(none, (5, 5)).shape == (0, 4)
    assert intersection(none[:, None], some).shape == (0, 3)
    assert xywh_to_xyxy(none).shape == (0, 4)


def test_without_area() -> None:
    point = np.array([[5.0, 5, 5, 5]])
    assert area(point) == intersection(point, point) == 0
    assert intersection(point, random_boxes(1, 0) * 0) == 0


def test_clip_to_images() -> None:
    boxes = np.array([[-5.0, 10, 120, 90], [110, 10, 120, 20], [1, 2, 3, 4]])
    clipped = clip(boxes, [[100, 80], [100, 80], [10, 10]])
    assert clipped.tolist() == [[0, 10, 100, 80], [100, 10, 100, 20], [1, 2, 3, 4]]
    assert boxes[0, 0] == -5


def test_not_finite_without_a_warning() -> None:
    assert not np.isfinite(
        xywh_to_xyxy(np.array([[1e308, 0, 1e308, 1], [np.inf, 0, -np.inf, 1]]))[:, 2]
    ).any()
