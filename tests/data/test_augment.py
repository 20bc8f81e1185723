"""Augmentation: boxes follow the pixels, and everything is a pure function of (seed, epoch, index)."""

import pickle
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data import augment
from data.augment import Augmentation, Window, draw_window, eval_transform, train_transform
from data.records import InputError

STILL = Augmentation(
    crop=1, scale=(1, 1), translate=0, flip=0, brightness=0, contrast=0, saturation=0, hue=0, blur=0
)
MOVING = replace(Augmentation(), brightness=0, contrast=0, saturation=0, hue=0, blur=0)
Picture = NDArray[np.uint8]
NO_BOXES = np.zeros((0, 4))


@pytest.fixture(scope="module")
def picture():
    """120×200 pixels of smooth colour."""
    y, x = np.mgrid[0:120, 0:200]
    return np.stack([x, 2 * y, 255 - x], axis=-1).astype(np.uint8)


# ---------------------------------------------------------------- no boxes


@pytest.mark.parametrize("transform", [eval_transform(64), train_transform(64)], ids=["eval", "train"])
def test_image_without_boxes(transform, picture):
    image, boxes, kept = transform(picture, NO_BOXES, (0, 0))
    assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
    assert (boxes.shape, kept.shape) == ((0, 4), (0,))


# ---------------------------------------------------------------- evaluation


@settings(deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 512))
def test_evaluation_scales_boxes_exactly(width, height, size):
    box = np.array([[0.0, 0.0, width, height], [width / 4, height / 8, width / 2, height / 2]])
    image, boxes, kept = eval_transform(size)(np.zeros((height, width, 3), np.uint8), box, 0)
    assert image.shape == (size, size, 3)
    # Not 447.99999999999994.
    assert boxes.tolist() == [[0, 0, size, size], [size / 4, size / 8, size / 2, size / 2]]
    assert kept.tolist() == [0, 1]


def test_evaluation_keeps_a_box_of_no_visible_size(picture):
    _, boxes, kept = eval_transform(8)(picture, np.array([[10.0, 10, 10.001, 10.001]]), 0)
    assert kept.tolist() == [0]
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_evaluation_of_the_right_size_changes_no_pixel():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    same, _, _ = eval_transform(64)(image, NO_BOXES, 0)
    np.testing.assert_array_equal(same, image)


def test_shrinking_averages():
    checks = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image, _, _ = eval_transform(32)(np.stack([checks] * 3, axis=-1), NO_BOXES, 0)
    assert np.ptp(image) <= 1  # grey, not a pattern of its own


# ---------------------------------------------------------------- geometry of training


def test_nothing_allowed_is_nothing_done(picture):
    box = np.array([[10.0, 20.0, 110.0, 90.0]])
    image, boxes, kept = train_transform(60, STILL)(picture, box, (3, 4))
    expected, expected_boxes, _ = eval_transform(60)(picture, box, 0)
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(boxes, expected_boxes)
    assert kept.tolist() == [0]


def test_flip_by_hand(picture):
    strength = replace(STILL, flip=1)
    image, boxes, _ = train_transform(100, strength)(picture, np.array([[10.0, 12.0, 110.0, 90.0]]), (0, 0))
    np.testing.assert_array_equal(image[:, ::-1], eval_transform(100)(picture, NO_BOXES, 0)[0])
    np.testing.assert_allclose(boxes, [[100 - 55, 10, 100 - 5, 75]], rtol=1e-15)


def test_enlarging_by_hand(picture):
    strength = replace(STILL, scale=(2, 2))
    boxes = np.array([[50.0, 30, 150, 90], [0, 0, 50, 30], [40, 20, 60, 40]])  # whole view; out; a quarter in
    image, moved, kept = train_transform(120, strength)(picture, boxes, (0, 0))
    np.testing.assert_array_equal(image, eval_transform(120)(picture[30:90, 50:150], NO_BOXES, 0)[0])
    assert moved.tolist() == [[0, 0, 120, 120]]
    assert kept.tolist() == [0]  # 0.25 < 0.3
    lenient = replace(STILL, scale=(2, 2), min_visibility=0.25)
    _, moved, kept = train_transform(120, lenient)(picture, boxes, (0, 0))
    assert moved.tolist() == [[0, 0, 120, 120], [0, 0, 12, 20]]
    assert kept.tolist() == [0, 2]


def test_beyond_the_image_it_is_grey(picture):
    strength = replace(STILL, scale=(0.5, 0.5))
    image, boxes, _ = train_transform(120, strength)(picture, np.array([[0.0, 0, 200, 120]]), (0, 0))
    assert boxes.tolist() == [[30, 30, 90, 90]]
    outside = np.ones((120, 120), bool)
    outside[30:90, 30:90] = False
    assert (image[outside] == augment.FILL).all()
    inside = eval_transform(60)(picture, NO_BOXES, 0)[0]
    np.testing.assert_array_equal(image[30:90, 30:90], inside)


def test_window_beside_the_image_is_all_grey(picture):
    image = augment.cut(picture, Window(300, 200, 340, 220), 10)
    assert (image == augment.FILL).all()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(300, 64, 0.02), (40, 200, 0.6)]),
    st.tuples(st.integers(0, 50), st.integers(0, 5000)),
    st.data(),
)
def test_box_follows_the_pixels(case, key, data):
    """A white rectangle on black: its light arrives where the box says, to a small fraction of a pixel.

    An image that shrinks is averaged over areas, which keeps the amount of light; one that is enlarged is
    sampled along ramps, where half a pixel at each edge can be lost or won.
    """
    smallest, size, tolerance = case
    width, height = (data.draw(st.integers(smallest, 2 * smallest)) for _ in range(2))
    left, top = data.draw(st.integers(0, width - 20)), data.draw(st.integers(0, height - 20))
    right, bottom = data.draw(st.integers(left + 20, width)), data.draw(st.integers(top + 20, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "FILL", (0, 0, 0))
        transform = train_transform(size, replace(MOVING, min_visibility=0))
        seen, boxes, kept = transform(image, np.array([[left, top, right, bottom]], float), key)
    light = seen[..., 0] / 255.0
    if not kept.size:
        assert light.sum() < 1
        return
    x0, y0, x1, y1 = boxes[0]
    if min(x1 - x0, y1 - y0) < 4:  # too narrow a sliver to have a flat top
        return
    for profile, low, high in ((light.max(axis=0), x0, x1), (light.max(axis=1), y0, y1)):
        middle = int((low + high) / 2)
        assert (1 - profile[:middle]).sum() == pytest.approx(low, abs=tolerance)  # the dark before it
        assert (1 - profile[middle:]).sum() == pytest.approx(size - high, abs=tolerance)  # and after it


@settings(max_examples=200, deadline=None)
@given(
    st.integers(20, 400),
    st.integers(20, 400),
    st.tuples(st.integers(0, 99), st.integers(0, 99)),
    st.floats(0, 1),
    st.data(),
)
def test_boxes_stay_in_the_image_and_go_by_the_visible_fraction(width, height, key, share, data):
    corners = st.tuples(
        st.floats(0, width - 2), st.floats(0, height - 2), st.floats(1, width), st.floats(1, height)
    )
    drawn = data.draw(st.lists(corners, max_size=6))
    boxes = np.array([[x, y, min(x + w, width), min(y + h, height)] for x, y, w, h in drawn]).reshape(-1, 4)
    before = boxes.copy()
    strength = Augmentation(min_visibility=share)
    window = draw_window(width, height, strength, np.random.default_rng([1, 9, *key]))
    _, moved, kept = train_transform(80, strength, seed=9)(np.zeros((height, width, 3), np.uint8), boxes, key)
    np.testing.assert_array_equal(boxes, before)
    assert moved.shape == (len(kept), 4)
    assert ((moved >= 0) & (moved <= 80)).all()
    assert (moved[:, 2:] > moved[:, :2]).all()
    assert (np.diff(kept) > 0).all()
    # The visible fraction once more, before the resize and one box at a time.
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        seen_width = max(min(x1, window.right) - max(x0, window.left), 0)
        seen_height = max(min(y1, window.bottom) - max(y0, window.top), 0)
        visible = seen_width * seen_height / ((x1 - x0) * (y1 - y0))
        if abs(visible - share) > 1e-9 and (visible == 0 or visible > 1e-9):
            assert (row in kept) == (visible >= share and visible > 0)


def test_strengths_stay_within_their_limits():
    strength = Augmentation(crop=0.5, scale=(0.5, 2), translate=0.1)
    windows = [draw_window(1000, 1000, strength, np.random.default_rng(seed)) for seed in range(400)]
    extents = np.array([[w.right - w.left, w.bottom - w.top] for w in windows])
    centres = np.array([[w.right + w.left, w.bottom + w.top] for w in windows]) / 2
    assert 249 <= extents.min() < 350  # and the range is used
    assert 1500 < extents.max() <= 2001
    assert 149 <= centres.min() <= centres.max() <= 851
    assert np.mean([w.flip for w in windows]) == pytest.approx(0.5, abs=0.08)


# ---------------------------------------------------------------- colour and blur


def test_colour_and_blur_leave_boxes_alone_and_change_pixels(picture):
    colour = Augmentation(crop=1, scale=(1, 1), translate=0, flip=0, blur=0)
    image, boxes, _ = train_transform(60, colour)(picture, np.array([[0.0, 0, 200, 120]]), (0, 0))
    assert boxes.tolist() == [[0, 0, 60, 60]]
    assert np.abs(image.astype(int) - eval_transform(60)(picture, NO_BOXES, 0)[0]).mean() > 2


def test_blur_comes_with_its_probability_and_apart_from_the_flip():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    strength = replace(STILL, flip=0.5, blur=0.5, blur_sigma=(1, 1))
    transform = train_transform(32, strength)
    images = [transform(noise, NO_BOXES, (0, index))[0] for index in range(300)]
    blurred = np.array([np.abs(np.diff(image.astype(int), axis=1)).mean() < 60 for image in images])
    windows = [draw_window(32, 32, strength, np.random.default_rng([1, 0, 0, i])) for i in range(300)]
    flipped = np.array([window.flip for window in windows])
    assert blurred.mean() == pytest.approx(0.5, abs=0.1)
    assert abs(np.corrcoef(blurred, flipped)[0, 1]) < 0.2


# ---------------------------------------------------------------- randomness


def test_the_same_key_gives_the_same_image_whatever_happened_before(picture):
    box = np.array([[10.0, 20.0, 110.0, 90.0]])
    first = train_transform(48, seed=5)
    keys = [(epoch, index) for epoch in range(3) for index in range(4)]
    forward = {key: first(picture, box, key) for key in keys}
    second = pickle.loads(pickle.dumps(train_transform(48, seed=5)))  # as a worker process gets it
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    for key in reversed(keys):
        for one, other in zip(forward[key], second(picture, box, key), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fast", [False, True])
def test_seed_epoch_and_index_all_matter(picture, fast):
    """An index alone is one of epoch 0."""
    keys = [(0, (0, 7)), (1, (0, 7)), (0, (1, 7)), (0, (0, 8)), (0, 7)]
    images = [train_transform(48, seed=seed, fast=fast)(picture, NO_BOXES, key)[0] for seed, key in keys]
    assert len({image.tobytes() for image in images}) == 4
    np.testing.assert_array_equal(images[4], images[0])


def test_the_input_image_and_global_generators_are_left_alone(picture):
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = random.getstate(), str(np.random.get_state()), picture.copy()  # noqa: NPY002
    train_transform(120, Augmentation(blur=1))(picture, NO_BOXES, (0, 0))
    assert (random.getstate(), str(np.random.get_state())) == before[:2]  # noqa: NPY002
    np.testing.assert_array_equal(picture, before[2])


# ---------------------------------------------------------------- arguments and imports


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop", 0.0),
        ("crop", 1.5),
        ("scale", (1.2, 0.8)),
        ("scale", (0.0, 1.0)),
        ("translate", -0.1),
        ("flip", float("nan")),
        ("brightness", 1.2),
        ("hue", 0.6),
        ("blur_sigma", (0.0, 1.0)),
        ("min_visibility", 30),
    ],
)
def test_a_strength_out_of_range_is_named(name, value):
    with pytest.raises(InputError, match=f"augmentation.{name}"):
        Augmentation(**({name: value}))


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: train_transform(0), "input size"),
        (lambda: eval_transform(0), "input size"),
        (lambda: train_transform(32, seed=-1), "seed"),
    ],
)
def test_wrong_arguments(make, where):
    with pytest.raises(InputError, match=where):
        make()


def test_evaluation_imports_neither_albumentations_nor_torch():
    code = "import sys, data.augment; data.augment.eval_transform(8); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"albumentations", "torch"} & set(result.stdout.split())
