"""The whole detector: shapes, agreement of its sizes, learning, thresholds, repeatability."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from detector import YOLO, ResNet, normalize, resnet18, seek_shuffles, shuffle_layers
from detector.grid import decode, non_maximum_suppression, split_outputs
from detector.loss import LossWeights, YOLOLoss

Target = dict[str, Tensor]
NOTHING: Target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
SOMETHING: Target = {"boxes": torch.tensor([[10.0, 6.0, 44.0, 30.0]]), "labels": torch.tensor([1])}


def tiny(seed: int = 0, classes: int = 3, grid: int | tuple[int, int] = 2, boxes: int = 2) -> YOLO:
    """A detector of 64-pixel images, on half a ResNet-18."""
    torch.manual_seed(seed)
    return YOLO(ResNet(BasicBlock, [1, 1, 1, 1], None), classes, grid, boxes, head_channels=16)


def step_back(loss: YOLOLoss) -> None:
    """Fill the gradients."""
    loss.total.backward()  # type: ignore[no-untyped-call]


def pictures(count: int = 1, side: int = 64) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(5)).byte()


def trained(model: YOLO, steps: int) -> list[float]:
    """Losses of some steps on one image with one object."""
    images = pictures().repeat(2, 1, 1, 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for step in range(steps):
        seek_shuffles(model, 0, step)
        optimizer.zero_grad()
        loss = model.train().loss(images, [SOMETHING] * 2)
        step_back(loss)
        optimizer.step()
        losses.append(loss.total.item())
    return losses


# ---------------------------------------------------------------- no objects, no detections


def test_images_without_objects() -> None:
    loss = tiny().loss(pictures(2), [NOTHING, NOTHING])
    assert loss.total.isfinite()
    assert loss.total == loss.background
    step_back(loss)


def test_nothing_found() -> None:
    found = tiny().eval().predict(pictures(2), score_threshold=1.1)
    assert [{name: tuple(value.shape) for name, value in image.items()} for image in found] == [
        {"boxes": (0, 4), "scores": (0,), "labels": (0,)}
    ] * 2


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("boxes", "classes", "grid", "size"),
    [(2, 20, 2, (64, 64)), (1, 1, 1, (32, 32)), (3, 5, (2, 4), (64, 128)), (2, 2, (3, 2), (65, 64))],
)
def test_shapes(boxes: int, classes: int, grid: int | tuple[int, int], size: tuple[int, int]) -> None:
    model = tiny(0, classes, grid, boxes).eval()
    rows, columns = model.grid
    outputs = model(torch.randn(2, 3, *size))
    assert outputs.shape == (2, boxes * 5 + classes, rows, columns)
    assert outputs.dtype == torch.float32
    found = model.predict(torch.randn(2, 3, *size), score_threshold=0.0, iou_threshold=1.0, max_detections=9)
    assert len(found) == 2
    for image in found:
        count = min(9, boxes * rows * columns * classes)
        assert image["boxes"].shape == (count, 4)
        assert image["boxes"].min() >= 0
        assert (image["boxes"].amax(0) <= torch.tensor([size[1], size[0]] * 2)).all()
        assert image["scores"].diff().le(0).all()
        assert image["labels"].max() < classes


def test_output_stride_gives_a_finer_grid() -> None:
    model = YOLO(resnet18(None, output_stride=16), 2, grid=4, head_channels=8).eval()
    assert model(pictures()).shape == (1, 12, 4, 4)


def test_images_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"images of 96x64 pixels give a map of 3x2 cells, .* grid is 2x2"):
        tiny()(torch.zeros(1, 3, 96, 64))


@pytest.mark.parametrize(
    ("argument", "options"), [("classes", (0, 2, 2)), ("grid", (3, 0, 2)), ("boxes_per_cell", (3, 2, 0))]
)
def test_impossible_sizes(argument: str, options: tuple[int, int, int]) -> None:
    classes, grid, boxes = options
    with pytest.raises(ValueError, match=f"{argument} must be at least 1, found 0"):
        tiny(0, classes, grid, boxes)


def test_as_many_targets_as_images() -> None:
    with pytest.raises(ValueError, match="2 images need as many targets, found 1"):
        tiny().loss(pictures(2), [NOTHING])


@pytest.mark.parametrize("label", [-1, 3])
def test_label_that_is_no_class(label: int) -> None:
    wrong = SOMETHING | {"labels": torch.tensor([label])}
    with pytest.raises(ValueError, match=rf"targets\[1\] has labels \[{label}\]; expected 0 to 2"):
        tiny().loss(pictures(2), [NOTHING, wrong])


@pytest.mark.parametrize(("grid", "dilation"), [(2, 2), (14, 2), (19, 3)])
def test_the_head_covers_the_grid(grid: int, dilation: int) -> None:
    head: Any = tiny(0, 3, grid).head
    assert [block.conv2.dilation for block in head.blocks] == [(dilation, dilation)] * 3


# ---------------------------------------------------------------- inputs


def test_bytes_and_normalised_images_are_the_same() -> None:
    model = tiny().eval()
    assert model(pictures(2)).equal(model(normalize(pictures(2))))


def test_height_and_width_are_not_mixed_up() -> None:
    model = tiny(grid=(2, 4)).eval()
    images = torch.zeros(1, 3, 64, 128)
    right = {"boxes": torch.tensor([[96.0, 0.0, 128.0, 64.0]]), "labels": torch.tensor([0])}
    with torch.no_grad():  # every cell: a box as high as the image, a quarter as wide, around its upper edge
        model.head.output.weight.zero_()
        model.head.output.bias.copy_(  # type: ignore[union-attr]
            torch.tensor([0.5, 0.0, 0.5, 1.0, 1.0] * 2 + [1 / 3] * 3)
        )
    loss = model.loss(images, [right])  # its centre lies on the upper edge of the last cell
    assert loss.centre == loss.size == loss.confidence == 0
    (found,) = model.predict(images, score_threshold=0.1, iou_threshold=1.0)
    assert right["boxes"][0].tolist() in found["boxes"].tolist()


def test_difficult_may_be_left_out() -> None:
    model = tiny().eval()
    given = model.loss(pictures(), [SOMETHING | {"difficult": torch.tensor([False])}])
    left_out = model.loss(pictures(), [SOMETHING])
    assert given.total == left_out.total
    hard = model.loss(pictures(), [SOMETHING | {"difficult": torch.tensor([True])}])
    assert hard.centre == hard.classes == 0


def test_loss_weights_are_used() -> None:
    torch.manual_seed(0)
    model = YOLO(resnet18(None), 3, 2, head_channels=16, weights=LossWeights(0.0, 0.0)).eval()
    loss = model.loss(pictures(), [SOMETHING])
    assert loss.centre == loss.size == loss.background == 0
    assert loss.total > 0


# ---------------------------------------------------------------- learning


def test_starts_neutral() -> None:
    prediction = split_outputs(tiny(classes=4)(pictures(4)), 2)
    for part, value in zip(prediction, (0.5, 0.5, 0.0, 0.25), strict=True):
        torch.testing.assert_close(part, torch.full_like(part, value), rtol=0, atol=0.1)


@pytest.mark.parametrize("shuffled", [False, True])
def test_gradient_reaches_every_parameter(shuffled: bool) -> None:
    model = tiny(boxes=1)
    if shuffled:
        shuffle_layers(model, "last")
    step_back(model.loss(pictures(2), [SOMETHING, NOTHING]))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_learns_one_image_by_heart() -> None:
    torch.manual_seed(0)
    model = YOLO(resnet18(None), 3, 2, head_channels=16)
    losses = trained(model, 30)
    assert losses[-1] < 0.1 * losses[0]
    (found,) = model.train().predict(pictures().repeat(2, 1, 1, 1), score_threshold=0.5)[:1]
    assert found["labels"].tolist() == [1]
    torch.testing.assert_close(found["boxes"], SOMETHING["boxes"], rtol=0, atol=6.0)


def test_one_seed_gives_the_same_losses() -> None:
    first, second, other = (
        trained(shuffle_layers(tiny(seed), "last"), 3)  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other


# ---------------------------------------------------------------- prediction


def test_thresholds() -> None:
    model = tiny(classes=5).eval()
    nn.init.uniform_(model.head.output.bias, 0.2, 0.9)  # type: ignore[arg-type]
    nn.init.normal_(model.head.output.weight, std=1e-4)
    every = model.predict(pictures(), score_threshold=0.0, iou_threshold=1.0)[0]
    assert len(every["scores"]) == 2 * 2 * 2 * 5
    middle = float(every["scores"].median())
    above = model.predict(pictures(), score_threshold=middle, iou_threshold=1.0)[0]
    assert above["scores"].equal(every["scores"][every["scores"] >= middle])
    few = model.predict(pictures(), score_threshold=0.0, iou_threshold=1.0, max_detections=3)[0]
    assert few["scores"].equal(every["scores"][:3])
    apart = model.predict(pictures(), score_threshold=0.0, iou_threshold=0.0)[0]
    assert 0 < len(apart["scores"]) < len(every["scores"])


def test_predict_is_decoding_and_suppression() -> None:
    model = tiny().eval()
    boxes, scores = decode(split_outputs(model(pictures(2)), 2), (64, 64))
    wanted = non_maximum_suppression(boxes, scores, 0.0, 0.5, 300)
    found = model.predict(pictures(2), 0.0, 0.5, 300)
    for one, other in zip(found, wanted, strict=True):
        assert all(one[name].equal(other[name]) for name in one)
        assert not one["boxes"].requires_grad


def test_loss_of_computed_outputs() -> None:
    model = tiny().eval()
    outputs = model(pictures())
    assert model.loss(pictures(), [SOMETHING]).total == model.loss_of(outputs, [SOMETHING], (64, 64)).total


def test_bfloat16_autocast() -> None:
    model = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(pictures(2), [SOMETHING, NOTHING])
    assert loss.total.dtype == torch.float32
    step_back(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_batch_without_images_has_a_loss_of_zero() -> None:
    model = tiny().eval()
    loss = model.loss_of(torch.zeros(0, 13, 2, 2), [], (64, 64))
    assert loss.total.item() == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"boxes": torch.zeros(2, 4), "labels": torch.tensor([0])}, "2 boxes and 1 labels"),
        ({"boxes": torch.ones(1, 4), "labels": torch.tensor([3])}, r"labels \[3\]; expected 0 to 2"),
    ],
)
def test_targets_that_cannot_be_are_named(target: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny().loss(torch.zeros(1, 3, 64, 64), [target])
