"""The whole detector: shapes, agreement of its sizes, its head, learning, thresholds, repeatability."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from detector import YOLO, ResNet, normalize, seek_shuffles, shuffle_layers
from detector.grid import decode, non_maximum_suppression, split_outputs
from detector.loss import LossWeights, YOLOLoss
from detector.yolo import ConvHead, covering_dilation, receptive_field

Target = dict[str, Tensor]
NOTHING: Target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
SOMETHING: Target = {"boxes": torch.tensor([[10.0, 6.0, 44.0, 30.0]]), "labels": torch.tensor([1])}


def tiny(
    seed: int = 0, classes: int = 3, grid: int | tuple[int, int] = 2, boxes: int = 2, **options: Any
) -> Any:
    """A detector of 64-pixel images, on half a narrow ResNet-18."""
    torch.manual_seed(seed)
    backbone = ResNet(BasicBlock, [1, 1, 1, 1], None, width=0.25)
    return YOLO(backbone, classes, grid, boxes, head_channels=16, **options)


def step_back(loss: YOLOLoss) -> None:
    """Fill the gradients."""
    loss.total.backward()  # type: ignore[no-untyped-call]


def pictures(count: int = 1, side: int = 64) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(5)).byte()


def trained(model: YOLO, steps: int) -> list[float]:
    """Losses of some steps on one image with one object."""
    images = pictures().repeat(2, 1, 1, 1)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for step in range(steps):
        seek_shuffles(model, 0, step)
        optimizer.zero_grad()
        loss = model.train().loss(images, [SOMETHING] * 2)
        step_back(loss)
        optimizer.step()
        losses.append(loss.total.item())
    return losses


# ---------------------------------------------------------------- the head


@pytest.mark.parametrize(
    ("channels", "outputs", "size"), [(256, 30, (14, 14)), (4, 1, (1, 1)), (8, 6, (3, 5))]
)
def test_shapes_and_precision_of_the_head(channels: int, outputs: int, size: tuple[int, int]) -> None:
    head = ConvHead(12, outputs, channels).eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = head(torch.randn(2, 12, *size))
    assert (found.shape, found.dtype) == ((2, outputs, *size), torch.float32)


def test_three_bottlenecks_of_one_width() -> None:
    head = ConvHead(2048, 30)
    convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    inner = [(256, 256, 1, 1), (256, 256, 3, 3), (256, 256, 1, 1)]
    expected = [(256, 2048, 1, 1), *inner[1:], (256, 2048, 1, 1), *inner, *inner, (30, 256, 3, 3)]
    assert sorted(tuple(module.weight.shape) for module in convolutions) == sorted(expected)
    assert {module.stride for module in convolutions} == {(1, 1)}


@pytest.mark.parametrize(("dilation", "blocks"), [(2, 3), (1, 3), (3, 2)])
def test_the_middle_output_sees_the_receptive_field(dilation: int, blocks: int) -> None:
    torch.manual_seed(0)
    head = ConvHead(3, 4, 8, blocks, dilation).double().eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 5.0)  # keeps every ReLU open
    x = torch.randn(1, 3, 25, 25, dtype=torch.float64, requires_grad=True)
    head(x)[0, :, 12, 12].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    for along in (0, 1):
        places = seen.any(along).nonzero()
        assert places.max() - places.min() + 1 == receptive_field(dilation, blocks)


def test_covering_dilation_is_the_least_and_the_detectors() -> None:
    for grid in range(1, 40):
        dilation = covering_dilation(grid)
        assert receptive_field(dilation) >= grid
        assert dilation == 2 or receptive_field(dilation - 1) < grid
    for grid, dilation in ((2, 2), (14, 2), (19, 3)):
        assert [block.conv2.dilation for block in tiny(0, 3, grid).head.blocks] == [(dilation, dilation)] * 3


@pytest.mark.parametrize("channels", [0, 2, 30, -4])
def test_width_that_bottlenecks_cannot_have(channels: int) -> None:
    with pytest.raises(ValueError, match=f"head channels must be a multiple of 4, found {channels}"):
        ConvHead(8, 5, channels)


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


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2, 2), "classes must be at least 1, found 0"),
        ((3, 0, 2), "grid must be at least 1, found 0"),
        ((3, 2, 0), "boxes_per_cell must be at least 1, found 0"),
    ],
)
def test_impossible_sizes(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(0, *sizes)
    with pytest.raises(ValueError, match=r"images of 96x64 pixels give a map of 3x2 cells, .* grid is 2x2"):
        tiny()(torch.zeros(1, 3, 96, 64))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([NOTHING], "2 images need as many targets, found 1"),
        (
            [NOTHING, SOMETHING | {"labels": torch.tensor([-1])}],
            r"targets\[1\] has labels \[-1\]; expected 0 to 2",
        ),
        (
            [NOTHING, SOMETHING | {"labels": torch.tensor([3])}],
            r"targets\[1\] has labels \[3\]; expected 0 to 2",
        ),
        ([NOTHING, SOMETHING | {"boxes": torch.zeros(2, 4)}], "2 boxes and 1 labels"),
    ],
)
def test_targets_that_cannot_be_are_named(targets: list[Target], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny().loss(pictures(2), targets)


# ---------------------------------------------------------------- inputs, and nothing in them


def test_bytes_and_normalised_images_are_the_same() -> None:
    model = tiny().eval()
    assert model(pictures(2)).equal(model(normalize(pictures(2))))


def test_images_without_objects_and_detections() -> None:
    loss = tiny().loss(pictures(2), [NOTHING, NOTHING])
    assert loss.total.isfinite()
    assert loss.total == loss.background
    step_back(loss)
    for image in tiny().eval().predict(pictures(2), score_threshold=1.1):
        shapes = {name: tuple(value.shape) for name, value in image.items()}
        assert shapes == {"boxes": (0, 4), "scores": (0,), "labels": (0,)}
    assert tiny().loss_from_outputs(torch.zeros(0, 13, 2, 2), [], (64, 64)).total.item() == 0


def test_height_and_width_are_not_mixed_up() -> None:
    model = tiny(grid=(2, 4)).eval()
    images = torch.zeros(1, 3, 64, 128)
    right = {"boxes": torch.tensor([[96.0, 0.0, 128.0, 64.0]]), "labels": torch.tensor([0])}
    with torch.no_grad():  # every cell: a box as high as the image, a quarter as wide, around its upper edge
        model.head.output.weight.zero_()
        model.head.output.bias.copy_(torch.tensor([0.5, 0.0, 0.5, 1.0, 1.0] * 2 + [1 / 3] * 3))
    loss = model.loss(images, [right])  # its centre lies on the upper edge of the last cell
    assert loss.centre == loss.size == loss.confidence == 0
    (found,) = model.predict(images, score_threshold=0.1, iou_threshold=1.0)
    assert right["boxes"][0].tolist() in found["boxes"].tolist()


def test_difficult_may_be_left_out_and_weights_are_used() -> None:
    model = tiny().eval()
    given = model.loss(pictures(), [SOMETHING | {"difficult": torch.tensor([False])}])
    assert given.total == model.loss(pictures(), [SOMETHING]).total
    hard = model.loss(pictures(), [SOMETHING | {"difficult": torch.tensor([True])}])
    assert hard.centre == hard.classes == 0
    loss = tiny(weights=LossWeights(0.0, 0.0)).eval().loss(pictures(), [SOMETHING])
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
    model = tiny()
    losses = trained(model, 60)
    assert losses[-1] < 0.1 * losses[0]
    (found,) = model.train().predict(pictures().repeat(2, 1, 1, 1), score_threshold=0.5)[:1]
    assert found["labels"].tolist() == [1]
    torch.testing.assert_close(found["boxes"], SOMETHING["boxes"], rtol=0, atol=6.0)


def test_one_seed_gives_the_same_losses() -> None:
    first, second, other = (trained(shuffle_layers(tiny(seed), "last"), 3) for seed in (0, 0, 1))
    assert first == second
    assert first != other


# ---------------------------------------------------------------- prediction


def test_thresholds() -> None:
    model = tiny(classes=5).eval()
    nn.init.uniform_(model.head.output.bias, 0.2, 0.9)
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


def test_predict_and_loss_of_computed_outputs() -> None:
    model = tiny().eval()
    outputs = model(pictures(2))
    boxes, scores = decode(split_outputs(outputs, 2), (64, 64))
    wanted = non_maximum_suppression(boxes, scores, 0.0, 0.5, 300)
    for one, other in zip(model.predict(pictures(2), 0.0, 0.5, 300), wanted, strict=True):
        assert all(one[name].equal(other[name]) for name in one)
        assert not one["boxes"].requires_grad
    targets = [SOMETHING, NOTHING]
    assert model.loss(pictures(2), targets).total == model.loss_from_outputs(outputs, targets, (64, 64)).total


def test_bfloat16_autocast() -> None:
    model = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(pictures(2), [SOMETHING, NOTHING])
    assert loss.total.dtype == torch.float32
    step_back(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_methods_have_their_earlier_names_too() -> None:
    assert (YOLO.lay, YOLO.loss_of, YOLO.suppress) == (
        YOLO.encode_targets, YOLO.loss_from_outputs, YOLO.postprocess,
    )  # fmt: skip
