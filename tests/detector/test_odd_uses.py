"""What the networks of others may be like, and what is done with a network after it was changed."""

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint
from torchvision.models.feature_extraction import create_feature_extractor

from detector import (
    SpatialShuffle,
    channel_shuffle,
    list_layers,
    modify_layers,
    seek_shuffles,
    set_shuffling,
    spatial_shuffle,
)
from detector.intervene import shuffles
from detector.shuffle import stream_of
from tests.detector.helpers import Net, changed_places, is_reordered, on_meta, thin


def around(part: nn.Module | None = None) -> Net:
    """Two convolutions around some part; the second has two names and runs twice."""
    first, second, part = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), part or nn.Identity()

    def run(m: Any, images: Tensor) -> Tensor:
        return m.shared(input=m.second(m.part(m.first(images))))  # type: ignore[no-any-return]

    return Net(run, first=first, part=part, second=second, shared=second)


def passes_through(network: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What entered each shuffle and what left it, in one pass, in the order of running."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))

    handles = [shuffle.register_forward_hook(keep) for shuffle in shuffles(network)]
    network(images)
    for handle in handles:
        handle.remove()
    return seen


# ---------------------------------------------------------------- networks


def scripted(frozen: bool) -> nn.Module:
    part = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    module: nn.Module = torch.jit.script(part.eval())  # type: ignore[no-untyped-call]
    return torch.jit.freeze(module) if frozen else module  # type: ignore[no-untyped-call,no-any-return]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_parts_run_along(frozen: bool) -> None:
    network = around(scripted(frozen))
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
    network = modify_layers(around(), "spatial", names=[name], example=16)
    seen = passes_through(network, torch.randn(1, 3, 16, 16))
    assert len(seen) == 2  # once for each time that the convolution runs, each with its own draw
    assert all(is_reordered(before, after) for before, after in seen)
    assert seen[0][1].shape != seen[1][1].shape
    with pytest.raises(ValueError, match="layer 2 is shuffled already; expected each layer once"):
        modify_layers(around(), "spatial", names=["second", "shared"], example=16)


def test_branches() -> None:
    parts = {"left": nn.Conv2d(3, 4, 3, padding=1), "right": nn.Conv2d(3, 4, 5, padding=2)}
    plain = Net(
        lambda m, x: m.joined(torch.cat([m.left(x), m.right(x)], 1)), **parts, joined=nn.Conv2d(8, 2, 3)
    )
    network = modify_layers(plain, "patch", layers=[1, 2], patch=3, example=16).eval()
    left, right = passes_through(network, torch.randn(1, 3, 16, 16))
    assert left[0].equal(right[0])
    assert not left[1].equal(right[1])


@pytest.mark.parametrize("size", [(2, 37, 53), (2, 32, 33), (2, 65, 32), (0, 32, 32)])
@pytest.mark.parametrize("method", ["patch", "spatial", "channel"])
@pytest.mark.parametrize("per_image", [False, True])
def test_odd_sizes(size: tuple[int, int, int], method: Any, per_image: bool) -> None:
    images, height, width = size
    patch = 3 if method == "patch" else None
    network = modify_layers(thin("vgg16"), method, last=13, patch=patch, per_image=per_image).eval()
    outputs = network(torch.randn(images, 3, height, width))
    assert outputs.shape == (images, 5)
    assert outputs.isfinite().all()


@pytest.mark.parametrize("method", ["spatial", "patch"])
@pytest.mark.parametrize("chosen", [{"last": 2}, {"layer": 16}, {"layers": [15, 16]}])
def test_layers_with_nothing_to_shuffle_are_refused(method: Any, chosen: dict[str, Any]) -> None:
    network = on_meta(torchvision.models.resnet34)
    patch = 2 if method == "patch" else None
    message = (
        rf"method '{method}': {next(iter(chosen))}: found layers? .*16 \(512x1x1\) with nothing to shuffle; "
        "expected layers up to 14, or larger images"
    )
    with pytest.raises(ValueError, match=message):
        modify_layers(network, method, **chosen, patch=patch, example=32)
    assert not changed_places(network)
    modify_layers(network, "channel", **chosen, example=32)  # 512 channels have an order


def test_of_some_layers_with_nothing_to_shuffle_it_is_said() -> None:
    with pytest.warns(UserWarning, match=r"last: found layers 15 \(512x1x1\), 16 \(512x1x1\) with nothing"):
        modify_layers(on_meta(torchvision.models.resnet34), "spatial", last=4, example=32)
    with pytest.raises(ValueError, match="patch: found 1, in which nothing can move; expected a side of at"):
        modify_layers(thin("vgg16"), "patch", last=4, patch=1)
    with pytest.raises(ValueError, match=r"layer: found layer 1 \(1x8x8\) with nothing .*; expected another"):
        modify_layers(nn.Sequential(nn.Conv2d(1, 2, 3)), "channel", layer=1, example=8)


def test_maps_of_one_position_at_run_time() -> None:
    plain = thin("resnet18").eval()
    network = modify_layers(copy.deepcopy(plain), "spatial", last=1)
    x = torch.randn(2, 3, 8, 8)
    with pytest.warns(UserWarning, match="SpatialShuffle: found a map of 32x1x1, in which nothing can move"):
        assert network(x).equal(plain(x))
    assert {(layer.height, layer.width) for layer in list_layers(network, 8)[-1:]} == {(1, 1)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions_on_a_cpu(dtype: torch.dtype) -> None:
    network = modify_layers(thin("vgg16").to(dtype), "patch", last=4, patch=2)
    outputs = network(torch.randn(2, 3, 32, 32, dtype=dtype))
    outputs.float().sum().backward()
    assert outputs.dtype == dtype
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_looking_at_a_detector_of_torchvision_leaves_it_as_it_was() -> None:
    detection = torchvision.models.detection
    resnet = torchvision.models.resnet
    backbone = detection.backbone_utils.BackboneWithFPN(
        resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1]), {"layer3": "0", "layer4": "1"}, [256, 512], 16
    )
    anchors = detection.anchor_utils.AnchorGenerator(((32,), (64,), (128,)), ((1.0,),) * 3)
    pooler = torchvision.ops.MultiScaleRoIAlign(["0", "1"], 2, 1)
    network = detection.FasterRCNN(
        backbone, 3, 32, 64, rpn_anchor_generator=anchors, box_roi_pool=pooler, rpn_post_nms_top_n_test=9
    ).eval()
    layers = list_layers(network, 64)
    assert [layer.name for layer in layers] == [f"backbone.body.layer{n}.0" for n in (1, 2, 3, 4)]
    modify_layers(network, "spatial", last=1)
    assert set(network([torch.rand(3, 48, 64)])[0]) == {"boxes", "labels", "scores"}


# ---------------------------------------------------------------- what is given


def test_no_network() -> None:
    with pytest.raises(ValueError, match=r"network: found NoneType; expected an nn\.Module"):
        modify_layers(None, "spatial", names=["0"])  # type: ignore[type-var]


def test_numbers_of_numpy() -> None:
    network = modify_layers(thin("vgg16"), "patch", layers=np.arange(1, 4), patch=np.int64(2))  # type: ignore[arg-type]
    modify_layers(network, "spatial", last=np.int64(2))  # type: ignore[arg-type]
    assert [shuffle.key[0] for shuffle in shuffles(network)] == [1, 2, 3, 12, 13]


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
        seek_shuffles(network, 0, 0)
        after = compiled(x)
        assert not after.equal(before)
        seek_shuffles(network, 0, 0)
        torch.testing.assert_close(after, network(x))
        twin = copy.deepcopy(compiled)
        assert twin(x).equal(compiled(x))
        assert twin(x).equal(twin(x)) == (method == "gap_fc")


def test_a_network_that_compiles_itself() -> None:
    network = thin("vgg16")
    network.compile(backend="eager")
    with pytest.raises(ValueError, match=r"found VGG, compiled, .*: change it before it is wrapped"):
        modify_layers(network, "spatial", last=1)


class Checkpointed(nn.Module):
    """A shuffle between two convolutions; runs it twice in a pass."""

    def __init__(self, **checkpointing: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 3)
        self.shuffle = SpatialShuffle(7)
        self.checkpointing = checkpointing
        self.inner: Callable[[Tensor], Tensor] = self.run

    def run(self, x: Tensor) -> Tensor:
        x = self.shuffle(self.shuffle(self.first(x)).sin())
        return self.second(x).sin()  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        if not self.checkpointing:
            return self.inner(x)
        return checkpoint(self.inner, x, **self.checkpointing)  # type: ignore[no-any-return]


def gradients(network: Checkpointed, run: Callable[[Tensor], Tensor], autocast: bool) -> list[Tensor]:
    """Of two steps: a backward pass through two passes, and one through a third, accumulated."""
    torch.manual_seed(5)
    found = []
    for step in range(2):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(step), requires_grad=True)
            first = run(x)
            with torch.no_grad():
                run(x)  # a pass that has no backward pass
            loss = (first * run(x + 1)).float().square().sum()
        loss.backward()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = run(x - 1).float().square().sum()
        loss.backward()  # a second part of the batch: its gradients are added
        found += [value.grad.clone() for value in (x, *network.parameters()) if value.grad is not None]
    return found


@pytest.mark.parametrize(
    ("how", "autocast"),
    [*product(["plain", "checkpoint", "reentrant", "compiled"], [False, True]), ("compiled inside", True)],
)
def test_gradients_are_those_of_explicit_permutations(how: str, autocast: bool) -> None:
    checkpointing = {} if how == "plain" else {"use_reentrant": how == "reentrant"}
    network = Checkpointed(**checkpointing)
    run: Callable[[Tensor], Tensor] = network
    if how.startswith("compiled"):
        torch.compiler.reset()
        options: Any = {"backend": "aot_eager_decomp_partition", "fullgraph": True}
        if how == "compiled":
            run = torch.compile(network, **options)
        else:
            network.inner = torch.compile(network.run, **options)
    explicit, draws = Checkpointed(), iter(range(100))

    def permute(x: Tensor) -> Tensor:
        return spatial_shuffle(x, stream_of(3, 4, 7) + next(draws))

    explicit.shuffle.forward = permute  # type: ignore[method-assign,assignment]
    network.shuffle.seek(3, 4)
    expected = gradients(explicit, explicit, autocast)
    found = gradients(network, run, autocast)
    assert all(value.abs().sum() > 0 for value in expected)
    torch.testing.assert_close(found, expected, rtol=1e-2 if autocast else 1e-4, atol=1e-5)


def test_checkpointing_leaves_the_draws_of_the_next_step_alone() -> None:
    outputs = []
    for checkpointing in ({}, {"use_reentrant": False}):
        network, x = Checkpointed(**checkpointing), torch.ones(1, 2, 4, 4)
        network.shuffle.seek(0, 0)
        for _ in range(3):
            x = network(torch.arange(32.0).view(1, 2, 4, 4))
            x.sum().backward()
        outputs.append(x)
    assert outputs[0].equal(outputs[1])


@pytest.mark.parametrize(
    "options", [{"use_reentrant": False, "preserve_rng_state": False}, {"use_reentrant": True}]
)
def test_checkpointing_when_it_is_not_known_which_draw_to_repeat(options: dict[str, bool]) -> None:
    network, x = Checkpointed(**options).eval(), torch.randn(1, 2, 4, 4, requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"\(checkpointing\) whose draw is not known; expected preserve_rng"
    ):
        network(x).sum().backward()


def test_a_forward_pass_in_a_backward_hook_draws_anew() -> None:
    shuffle, x = SpatialShuffle(7), torch.arange(16.0).view(1, 1, 4, 4).requires_grad_()
    inside: list[Tensor] = []
    first = shuffle(x)
    first.register_hook(lambda _: inside.append(shuffle(x)))
    first.sum().backward()
    assert not inside[0].equal(first)
    assert not shuffle(x).equal(inside[0])


def test_capture_into_a_cuda_graph_would_keep_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("is_initialized", "is_current_stream_capturing"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    with pytest.raises(
        RuntimeError, match="found the capture of a CUDA graph, which would keep one draw for"
    ):
        SpatialShuffle(1)(torch.zeros(1, 1, 2, 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_tracing_would_keep_one_draw() -> None:
    network = modify_layers(thin("vgg16").eval(), "spatial", last=1)
    x = torch.randn(1, 3, 32, 32)
    with pytest.raises(RuntimeError, match=r"found torch\.jit\.trace, which would keep one draw"):
        torch.jit.trace(network, x)  # type: ignore[no-untyped-call]
    set_shuffling(network, eval=False)
    traced = torch.jit.trace(network, x)  # type: ignore[no-untyped-call]
    assert traced(x).equal(network(x))


@pytest.mark.parametrize("kind", ["vgg16", "resnet18", "timm"])
def test_features_by_torch_fx_are_those_of_the_network(kind: str) -> None:
    if kind == "timm":
        network = pytest.importorskip("timm").create_model("resnet10t", num_classes=5).eval()
    else:
        network = thin(kind).eval()
    modify_layers(network, "spatial", last=2, example=32)
    extractor = create_feature_extractor(network, {"features" if kind == "vgg16" else "layer3": "features"})
    images, whole = torch.randn(2, 3, 32, 32), torch.fx.symbolic_trace(network)
    with torch.no_grad():
        seek_shuffles(network, 0, 1)
        expected = network(images)
        assert not network(images).equal(expected)
        seek_shuffles(network, 0, 1)
        torch.testing.assert_close(whole(images), expected)
    assert extractor(images)["features"].shape[0] == 2


def test_threads_of_data_parallel_would_race() -> None:
    replica = SpatialShuffle(1)._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
    message = r"nn\.DataParallel on several devices, .* DistributedDataParallel"
    with pytest.raises(RuntimeError, match=message):
        replica(torch.zeros(1, 1, 2, 2))
    x = torch.randn(1, 3, 32, 32)
    network = nn.DataParallel(modify_layers(thin("vgg16"), "spatial", last=1).eval())
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
    network = modify_layers(thin("vgg16"), method, last=3).eval()
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
