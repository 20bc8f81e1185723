"""What the networks of others may be like, and what is done with a network after it was changed."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from detector import (
    SpatialShuffle,
    channel_shuffle,
    list_layers,
    modify_layers,
    resnet18,
    seek_shuffles,
    set_shuffling,
    spatial_shuffle,
    vgg16,
)
from detector.intervene import shuffles

THIN = 1 / 16


def thin_vgg() -> nn.Module:
    torch.manual_seed(0)
    return vgg16(5, width=THIN)


class Around(nn.Module):
    """Two convolutions around some part; the second has two names and runs twice."""

    def __init__(self, part: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.part = part or nn.Identity()
        self.second = nn.Conv2d(4, 4, 3)
        self.shared = self.second

    def forward(self, images: Tensor) -> Tensor:
        return self.shared(input=self.second(self.part(self.first(images))))  # type: ignore[no-any-return]


class Branches(nn.Module):
    """Two branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 4, 5, padding=2)
        self.joined = nn.Conv2d(8, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.joined(torch.cat([self.left(images), self.right(images)], 1))  # type: ignore[no-any-return]


# ---------------------------------------------------------------- networks


def scripted(frozen: bool) -> nn.Module:
    part = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    module: nn.Module = torch.jit.script(part.eval())  # type: ignore[no-untyped-call]
    return torch.jit.freeze(module) if frozen else module  # type: ignore[no-untyped-call,no-any-return]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_parts_run_along(frozen: bool) -> None:
    network = Around(scripted(frozen))
    assert [layer.name for layer in list_layers(network, 16)] == ["first", "second"]
    with pytest.raises(ValueError, match=r"found 'part(\.0)?'.*TorchScript|found 'part\.0'"):
        modify_layers(network, "spatial", names=["part" if frozen else "part.0"], example=16)
    modify_layers(network, "spatial", last=2, example=16)
    x = torch.randn(1, 3, 16, 16)
    assert not network(x).equal(network(x))
    with pytest.raises(ValueError, match="found RecursiveScriptModule, compiled, scripted or for several"):
        modify_layers(scripted(frozen), "spatial", last=1)


@pytest.mark.parametrize("name", ["second", "shared"])
def test_a_shared_module_by_either_name_and_with_its_input_named(name: str) -> None:
    network = modify_layers(Around(), "spatial", names=[name], example=16)
    seen: list[tuple[Tensor, Tensor]] = []
    (shuffle,) = shuffles(network)
    shuffle.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    network(torch.randn(1, 3, 16, 16))
    assert len(seen) == 2  # once for each time that the convolution runs, each a draw of its own
    orders = [after.flatten(2)[0, 0] for _, after in seen]
    assert all(
        before.flatten(2).sort().values.equal(after.flatten(2).sort().values) for before, after in seen
    )
    assert orders[0].shape != orders[1].shape
    with pytest.raises(ValueError, match="layer 2 is shuffled already; expected each layer once"):
        modify_layers(Around(), "spatial", names=["second", "shared"], example=16)


def test_branches() -> None:
    network = modify_layers(Branches(), "patch", layers=[1, 2], patch=3, example=16).eval()
    left, right = (network.get_submodule(name).input_shuffle for name in ("left", "right"))
    seen: list[Tensor] = []
    for shuffle in (left, right):
        shuffle.register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore[union-attr,operator]
    network(torch.randn(1, 3, 16, 16))
    assert not seen[0].equal(seen[1])


@pytest.mark.parametrize(("height", "width"), [(37, 53), (32, 33), (65, 32)])
def test_odd_sizes(height: int, width: int) -> None:
    for method, options in (("patch", {"patch": 3}), ("spatial", {}), ("channel", {"per_image": True})):
        network = modify_layers(thin_vgg(), method, last=13, **options).eval()  # type: ignore[arg-type]
        assert network(torch.randn(2, 3, height, width)).isfinite().all()


def test_maps_of_one_position_stay() -> None:
    torch.manual_seed(0)
    plain = resnet18(5, width=THIN).eval()
    network = modify_layers(copy.deepcopy(plain), "spatial", last=2)
    x = torch.randn(2, 3, 16, 16)
    assert network(x).equal(plain(x))
    assert {(layer.height, layer.width) for layer in list_layers(network, 16)[-2:]} == {(1, 1)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions_on_a_cpu(dtype: torch.dtype) -> None:
    network = modify_layers(thin_vgg().to(dtype), "patch", last=4, patch=2)
    outputs = network(torch.randn(2, 3, 32, 32, dtype=dtype))
    outputs.float().sum().backward()
    assert outputs.dtype == dtype
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("per_image", [False, True])
def test_a_network_without_images(per_image: bool) -> None:
    for method, options in (("patch", {"patch": 3}), ("spatial", {}), ("channel", {})):
        network = modify_layers(thin_vgg(), method, last=13, per_image=per_image, **options)  # type: ignore[arg-type]
        assert network.eval()(torch.zeros(0, 3, 32, 32)).shape == (0, 5)


def test_looking_at_a_detector_of_torchvision_leaves_it_as_it_was() -> None:
    backbone = torchvision.models.detection.backbone_utils.BackboneWithFPN(
        torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]),
        {"layer3": "0", "layer4": "1"},
        [256, 512],
        16,
    )
    anchors = torchvision.models.detection.anchor_utils.AnchorGenerator(((32,), (64,), (128,)), ((1.0,),) * 3)
    pooler = torchvision.ops.MultiScaleRoIAlign(["0", "1"], 2, 1)
    network = torchvision.models.detection.FasterRCNN(
        backbone, 3, 32, 64, rpn_anchor_generator=anchors, box_roi_pool=pooler, rpn_post_nms_top_n_test=9
    ).eval()
    layers = list_layers(network, 64)
    assert [layer.name for layer in layers] == [f"backbone.body.layer{n}.0" for n in (1, 2, 3, 4)]
    modify_layers(network, "spatial", last=1)
    assert set(network([torch.rand(3, 48, 64)])[0]) == {"boxes", "labels", "scores"}


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (None, "network: found NoneType; expected an nn.Module"),
        (nn.Sequential(nn.LazyConv2d(4, 3)), "found Sequential with lazy layers; expected one that has been"),
    ],
)
def test_no_network(network: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        modify_layers(network, "spatial", names=["0"])


@pytest.mark.parametrize("example", ["32", (3, 32, 32), 0, (32, 2.5), [32]])
def test_no_example(example: Any) -> None:
    with pytest.raises(ValueError, match=r"example: found .*; expected images"):
        list_layers(thin_vgg(), example)


def test_an_example_of_another_kind_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^example: found a dict; expected images[^\n]*$"):
        list_layers(thin_vgg(), {"images": torch.zeros(1, 3, 32, 32)})  # type: ignore[arg-type]


@pytest.mark.parametrize("patch", [2.5, "2", None, -3, True])
def test_no_patch(patch: Any) -> None:
    with pytest.raises(ValueError, match=f"patch: found {patch!r}; expected a side of at least 1 position"):
        modify_layers(thin_vgg(), "patch", last=1, patch=patch)


def test_numbers_of_numpy() -> None:
    network = modify_layers(thin_vgg(), "patch", layers=np.arange(1, 4), patch=np.int64(2))  # type: ignore[arg-type]
    modify_layers(network, "spatial", last=np.int64(2))
    assert [shuffle.key[0] for shuffle in shuffles(network)] == [1, 2, 3, 12, 13]
    with pytest.raises(ValueError, match="layer: found True"):
        modify_layers(thin_vgg(), "spatial", layer=True)


def test_an_image_without_its_batch() -> None:
    network = modify_layers(nn.Sequential(nn.Conv2d(3, 3, 3)), "spatial", last=1, example=8)
    with pytest.raises(ValueError, match=r"found an input of 3x8x8 to shuffle; expected \(N, C, H, W\)"):
        network(torch.randn(3, 8, 8))


# ---------------------------------------------------------------- what others do with a changed network


@pytest.mark.parametrize("method", ["spatial", "gap_fc"])
def test_changed_after_it_was_compiled(method: Any) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1))
    network.image_size = 8  # type: ignore[assignment]
    compiled: Any = torch.compile(network, backend="eager")
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = compiled(x)
        modify_layers(network, method, last=1)
        seek_shuffles(network, 0, 0) if method == "spatial" else None
        after = compiled(x)
        assert not after.equal(before)
        seek_shuffles(network, 0, 0)
        torch.testing.assert_close(after, network(x))


def test_a_network_that_compiles_itself() -> None:
    network = thin_vgg()
    network.compile(backend="eager")
    with pytest.raises(ValueError, match=r"found VGG, compiled, .*: change it before it is wrapped"):
        modify_layers(network, "spatial", last=1)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_repeats_the_draw(reentrant: bool) -> None:
    network: Any = modify_layers(thin_vgg(), "spatial", last=3).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)

    def run(features: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        loss = network.classifier(network.avgpool(features(x)).flatten(1)).square().sum()
        return torch.autograd.grad(loss, x) if not reentrant else torch_grad(loss, x)

    def torch_grad(loss: Tensor, x: Tensor) -> tuple[Tensor]:
        x.grad = None  # the reentrant kind knows backward() alone
        loss.backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        return (x.grad,)

    network.eval()  # batch norm would count twice
    found = []
    for features in (network.features, lambda x: checkpoint(network.features, x, use_reentrant=reentrant)):
        seek_shuffles(network, 0, 5)
        found.append(run(features)[0])
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[0], found[1])
    streams = [int(shuffle.stream) for shuffle in shuffles(network)]
    seek_shuffles(network, 0, 5)
    network(x)
    assert [int(shuffle.stream) for shuffle in shuffles(network)] == streams  # repeating took no draw


def test_checkpointing_when_it_is_not_known_which_draw_to_repeat() -> None:
    shuffle, x = SpatialShuffle(1), torch.randn(1, 2, 4, 4, requires_grad=True)
    shuffle(x)
    with pytest.raises(RuntimeError, match=r"\(checkpointing\) after 2 draws; expected one draw of each"):
        checkpoint(lambda x: shuffle(x).sin(), x, use_reentrant=False).sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_tracing_would_keep_one_draw() -> None:
    network = modify_layers(thin_vgg().eval(), "spatial", last=1)
    x = torch.randn(1, 3, 32, 32)
    with pytest.raises(RuntimeError, match=r"found torch\.jit\.trace, which would keep one draw"):
        torch.jit.trace(network, x)  # type: ignore[no-untyped-call]
    set_shuffling(network, eval=False)
    traced = torch.jit.trace(network, x)  # type: ignore[no-untyped-call]
    assert traced(x).equal(network(x))


def test_threads_of_data_parallel_would_race() -> None:
    shuffle = SpatialShuffle(1)
    replica = shuffle._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
    with pytest.raises(
        RuntimeError, match=r"nn\.DataParallel on several devices, .* DistributedDataParallel"
    ):
        replica(torch.zeros(1, 1, 2, 2))
    x = torch.randn(1, 3, 32, 32)
    network = nn.DataParallel(modify_layers(thin_vgg(), "spatial", last=1).eval())
    if torch.cuda.device_count() < 2:
        assert not network(x).equal(network(x))


def test_gradients_image_by_image() -> None:
    x, weight = torch.randn(3, 2, 4, 4), torch.randn(2, 4, 4)

    def loss(image: Tensor) -> Tensor:
        return (spatial_shuffle(image[None], 5)[0].sin() * weight).sum()

    one_by_one = torch.stack([grad(loss)(image) for image in x])
    torch.testing.assert_close(vmap(grad(loss))(x), one_by_one)
    assert torch.autograd.gradcheck(
        lambda x: spatial_shuffle(x, 4).sin(), x[:2].double().requires_grad_(), check_batched_grad=True
    )


@pytest.mark.parametrize("method", ["spatial", "channel"])
def test_functional_transforms_of_a_network(method: Any) -> None:
    network = modify_layers(thin_vgg(), method, last=3).eval()
    images, weights = torch.randn(2, 3, 32, 32), dict(network.named_parameters())

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, weights, (image[None],))
        return outputs.square().sum()

    seek_shuffles(network, 0, 7)
    found = vmap(grad(loss), in_dims=(None, 0))(weights, images)
    assert network(images).isfinite().all()  # nothing of the transforms is left in the network
    for number, image in enumerate(images):
        seek_shuffles(network, 0, 7)
        expected = torch.autograd.grad(loss(weights, image), list(weights.values()))
        for value, wanted in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(value[number], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shuffle", [spatial_shuffle, channel_shuffle])
def test_vmap_over_any_dimension(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    x = torch.randn(3, 2, 3, 4, 5)
    for dim in range(5):
        expected = torch.stack([shuffle(part, 5) for part in x.unbind(dim)])
        assert vmap(lambda part: shuffle(part, 5), in_dims=dim)(x).equal(expected)


def test_a_copy_of_a_compiled_network() -> None:
    network = modify_layers(nn.Sequential(nn.Conv2d(3, 4, 3)), "spatial", last=1, example=8)
    compiled: Any = torch.compile(network, backend="eager")
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        compiled(x)
        twin = copy.deepcopy(compiled)
        assert twin(x).equal(compiled(x))
        assert not twin(x).equal(twin(x))
