"""The permutations: what they keep, what they change, how they are drawn, and their gradients."""

import copy
import math
import pickle
import weakref
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from detector.shuffle import (
    BlockShuffle,
    ChannelShuffle,
    ColumnShuffle,
    JointShuffle,
    PatchShuffle,
    RowShuffle,
    Shuffle,
    SpatialMean,
    SpatialShuffle,
    block_permutation,
    block_shuffle,
    channel_permutation,
    channel_shuffle,
    joint_shuffle,
    patch_shuffle,
    spatial_permutation,
    spatial_shuffle,
    stream_of,
    token_grid,
)

Function = Callable[..., Tensor]
BLOCKS = {"blocks": (2, 2), "rows": (1, 99), "columns": (99, 1)}
FUNCTIONS: dict[str, Function] = {
    "spatial": spatial_shuffle,
    "patch": lambda x, stream, **options: patch_shuffle(x, 2, stream, **options),
    "channel": channel_shuffle,
    "joint": joint_shuffle,
    **{
        name: lambda x, stream, block=block, **options: block_shuffle(x, block, stream, **options)
        for name, block in BLOCKS.items()
    },
}
MODULES: dict[str, Callable[..., Shuffle]] = {
    "spatial": SpatialShuffle,
    "patch": lambda *key, **modes: PatchShuffle(2, *key, **modes),
    "channel": ChannelShuffle,
    "joint": JointShuffle,
    "blocks": lambda *key, **modes: BlockShuffle(2, *key, **modes),
    "rows": RowShuffle,
    "columns": ColumnShuffle,
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]
each_method = pytest.mark.parametrize("method", FUNCTIONS)
each_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
quick = settings(deadline=None, max_examples=30)
sizes = st.tuples(*(st.integers(1, 7),) * 3)


def numbered(*shape: int) -> Tensor:
    """A tensor in which every value tells where it came from."""
    return torch.arange(float(math.prod(shape))).view(shape)


def all_differ(outputs: Any) -> bool:
    return not any(one.equal(other) for one, other in permutations(outputs, 2))


def excess(counts: Tensor) -> float:
    """How many standard deviations the chi-square statistic against equal counts is from its mean."""
    expected = counts.sum() / counts.numel()
    freedom = counts.numel() - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return abs(float(statistic - freedom)) / math.sqrt(2 * freedom)


def arrangement(orders: Tensor) -> Tensor:
    """The number, 0 to L! − 1, of each row's permutation of L positions."""
    rank = {order: number for number, order in enumerate(permutations(range(orders.shape[-1])))}
    return torch.tensor([rank[tuple(order)] for order in orders.tolist()])


# ---------------------------------------------------------------- what stays and what changes


@each_method
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("size", [(0, 3, 4, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 1, 1, 1)])
def test_nothing_to_shuffle(method: str, per_image: bool, size: tuple[int, ...]) -> None:
    assert FUNCTIONS[method](torch.full(size, 5.0), 1, per_image=per_image).equal(torch.full(size, 5.0))


@quick
@given(sizes, st.integers(1, 8), st.integers(-(2**63), 2**63 - 1))
def test_patch_keeps_each_patchs_values(size: tuple[int, int, int], patch: int, stream: int) -> None:
    x = numbered(2, *size)
    shuffled = patch_shuffle(x, patch, stream)
    for top, left in product(range(0, size[1], patch), range(0, size[2], patch)):
        window = (slice(None), slice(None), slice(top, top + patch), slice(left, left + patch))
        assert shuffled[window].flatten(2).sort().values.equal(x[window].flatten(2).sort().values)


@quick
@given(sizes, st.tuples(st.integers(1, 8), st.integers(1, 8)), st.integers(0, 2**62))
def test_blocks_are_moved_whole(size: tuple[int, int, int], block: tuple[int, int], stream: int) -> None:
    x = numbered(2, *size)
    shuffled = block_shuffle(x, block, stream)
    for channel in range(size[0]):
        found = [
            sorted(
                (list(part.shape), part.flatten().tolist())
                for strip in y[:, channel].split(block[0], 1)
                for part in strip.split(block[1], 2)
            )
            for y in (x, shuffled)
        ]
        assert found[0] == found[1]


@pytest.mark.parametrize(
    ("module", "size", "expected"),
    [
        *((BlockShuffle(2), size, size != (3, 3)) for size in ((4, 2), (3, 3), (5, 5))),
        *((BlockShuffle(4), size, size == (6, 9)) for size in ((4, 4), (6, 9), (3, 2))),
        *((RowShuffle(), size, size == (2, 1)) for size in ((1, 9), (2, 1))),
        *((ColumnShuffle(), size, size == (1, 9)) for size in ((1, 9), (2, 1))),
        *((JointShuffle(), size, size == (1, 2)) for size in ((1, 1), (1, 2))),
    ],
)
def test_where_a_control_has_an_effect(module: Shuffle, size: tuple[int, int], expected: bool) -> None:
    x = numbered(1, 9, *size)
    assert module.has_effect(9, *size) == expected
    assert any(not module.permute(x, torch.tensor(n)).equal(x) for n in range(9)) == expected


@each_layout
def test_the_mean_of_each_channel_in_place_of_its_positions(layout: torch.memory_format) -> None:
    x = torch.randn(3, 4, 5, 6, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    module = SpatialMean(1)
    found = module(x)
    assert found.equal(module(x))
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, x.flatten(2).mean(2)[..., None, None].expand_as(x))
    assert torch.autograd.gradcheck(module, x[:1, :1, :2].detach().requires_grad_())


def test_blocks_that_cannot_be() -> None:
    for block in ((0, 2), (2, -1)):
        with pytest.raises(
            ValueError, match=f"at least 1 position high and wide, found {block[0]}x{block[1]}"
        ):
            block_shuffle(torch.zeros(1, 1, 4, 4), block, 0)
    for make in (JointShuffle, RowShuffle, ColumnShuffle, SpatialMean, SpatialShuffle):
        for size in ((2, 3, 4), (2, 3, 4, 4, 4)):  # of Conv1d and Conv3d
            with pytest.raises(ValueError, match="to shuffle; expected \\(N, C, H, W\\)"):
                make()(torch.zeros(size))


@each_method
@each_layout
@pytest.mark.parametrize("per_image", [False, True])
def test_images_views_and_memory_formats(method: str, layout: torch.memory_format, per_image: bool) -> None:
    def shuffle(x: Tensor) -> Tensor:
        return FUNCTIONS[method](x, 5, per_image=per_image)

    x = numbered(1, 6, 4, 5).repeat(3, 1, 1, 1).contiguous(memory_format=layout)
    shuffled = shuffle(x)
    assert shuffled.is_contiguous(memory_format=layout)
    assert shuffled.equal(shuffle(x.contiguous()))
    along = 1 if method == "channel" else 2
    assert shuffled.flatten(2).sort(along).values.equal(x.flatten(2).sort(along).values)
    assert shuffled[0].equal(FUNCTIONS[method](x[:1], 5)[0])  # the first image has what all would share
    assert all_differ(shuffled) if per_image else shuffled.equal(shuffled[:1].expand_as(x))
    view = torch.randn(2, 6, 8, 5)[:, :, ::2].transpose(2, 3)
    assert shuffle(view).equal(shuffle(view.clone(memory_format=torch.contiguous_format)))


def test_patches_that_do_not_divide_the_map_are_shuffled_to_the_rim() -> None:
    orders = spatial_permutation(200, 5, 5, 1, patch=3)
    moved = (orders != torch.arange(25)).double().mean(0).view(5, 5)
    assert moved.min() > 0.6  # 2×2 in the corner: three of four move


@pytest.mark.parametrize(("patch", "same_as"), [(1, "identity"), (5, "spatial"), (100, "spatial")])
def test_smallest_and_largest_patches(patch: int, same_as: str) -> None:
    x = torch.randn(2, 3, 4, 5)
    assert patch_shuffle(x, patch, 9).equal(x if same_as == "identity" else spatial_shuffle(x, 9))


def test_patch_sizes_that_cannot_be() -> None:
    for patch in (0, -1):
        for make in (lambda patch: patch_shuffle(torch.zeros(1, 1, 4, 4), patch, 0), PatchShuffle):
            with pytest.raises(ValueError, match=f"patch must be at least 1 position, found {patch}"):
                make(patch)
    with pytest.raises(ValueError, match="too many patches of 1"):
        spatial_permutation(1, 1025, 1025, 0, patch=1)
    assert repr(PatchShuffle(3)) == "PatchShuffle(patch=3)"


# ---------------------------------------------------------------- how they are drawn


def test_all_arrangements_are_equally_frequent() -> None:
    among_channels = spatial_permutation(24 * 400, 2, 2, 11)
    among_draws = torch.stack([channel_permutation(4, stream) for stream in range(24 * 100)])
    patchwise = spatial_permutation(24 * 200, 4, 4, 12, patch=2)
    patches = torch.arange(16).view(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
    inside = [torch.searchsorted(places, patchwise[:, places]) for places in patches]
    # Of four blocks, rows or columns the first positions say where they went.
    blocks = block_permutation(24 * 200, 5, 5, 14, (2, 2))[:, [0, 2, 10, 12]]
    blocks = torch.searchsorted(torch.tensor([0, 2, 10, 12]), blocks)
    rows = block_permutation(24 * 200, 4, 3, 15, (1, 3))[:, ::3] // 3
    columns = block_permutation(24 * 200, 3, 4, 16, (3, 1))[:, :4]
    for orders in (among_channels, among_draws, *inside, blocks, rows, columns):
        assert excess(arrangement(orders).bincount(minlength=24)) < 3


def test_neighbouring_channels_and_consecutive_draws_are_independent() -> None:
    channels = arrangement(spatial_permutation(2 * 36 * 300, 1, 3, 14))
    draws = arrangement(torch.stack([channel_permutation(3, stream) for stream in range(36 * 60 + 1)]))
    for pairs in (channels[0::2] * 6 + channels[1::2], draws[:-1] * 6 + draws[1:]):
        assert excess(pairs.bincount(minlength=36)) < 3


def test_draws_are_those_of_every_version_and_device() -> None:
    # Results that were made with some seed stay reproducible: these must never change.
    for device in map(torch.device, ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]):
        assert spatial_permutation(2, 2, 3, 7, device=device).tolist() == [
            [0, 4, 3, 2, 1, 5],
            [1, 2, 4, 3, 5, 0],
        ]
        assert spatial_permutation(1, 3, 3, 7, 2, device).tolist() == [[3, 0, 2, 1, 4, 5, 7, 6, 8]]
        assert channel_permutation(8, stream_of(1, 2, 3), device).tolist() == [3, 0, 2, 7, 4, 6, 5, 1]


def test_stream_depends_on_every_number_and_on_their_order() -> None:
    streams = {stream_of(*numbers) for numbers in product(range(-2, 3), repeat=3)}
    streams |= {stream_of(), stream_of(0), stream_of(0, 0), stream_of(12, 3), stream_of(1, 23)}
    assert len(streams) == 125 + 5
    assert all(-(2**63) <= stream < 2**63 for stream in streams)


@each_module
def test_draws_of_a_module(make: Callable[..., Shuffle]) -> None:
    x = numbered(1, 16, 4, 4)
    module = make(7)
    modes = (True, True, True, False, False, False)
    assert all_differ([module.train(training)(x) for training in modes])  # anew at each pass, in both modes
    module.seek(3, 20)
    first = [module(x) for _ in range(3)]
    module.seek(3, 20)
    assert all(module(x).equal(output) for output in first)
    outputs = []
    for key, seed, step in [((7,), 3, 20), ((7, 1), 0, 0), ((8, 1), 0, 0), ((7, 1), 1, 0), ((7, 1), 0, 1)]:
        another = make(*key).eval()
        another.seek(seed, step)
        outputs.append(another(x))
    assert outputs[0].equal(first[0])
    assert all_differ(outputs)


@each_module
@pytest.mark.parametrize(("in_training", "in_evaluation"), list(product([True, False], repeat=2)))
def test_modes(make: Callable[..., Shuffle], in_training: bool, in_evaluation: bool) -> None:
    x = numbered(1, 16, 4, 4).repeat(2, 1, 1, 1)
    assert make()(x)[0].equal(make()(x)[1])  # by default one draw for all images
    module, always = make(in_training=in_training, in_evaluation=in_evaluation), make()
    first = {training: always.train(training)(x) for training in (True, False)}
    assert module.train()(x).equal(first[True] if in_training else x)
    assert module.eval()(x).equal(first[False] if in_evaluation else x)


# ---------------------------------------------------------------- in a loop of one's own


def test_draws_of_training_and_evaluation_are_disjoint() -> None:
    module, starts = SpatialShuffle(7), []
    for seek, training in product([None, (0, 0), (0, 1), (-1, 0)], [True, False]):
        module.train()
        if seek is not None:
            module.seek(*seek)
        module.train(training)
        starts.append(module.stream)
        for number in range(20):
            assert module.stream == starts[-1] + number
            module(torch.zeros(1, 1, 1, 2))
    streams = {start + number for start in starts for number in range(10_000)}
    assert len(streams) == len(starts) * 10_000


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("seek", [True, False])
def test_evaluation_leaves_the_draws_of_training_alone(gradients: bool, seek: bool) -> None:
    x, outputs = numbered(1, 16, 4, 4), []
    for evaluated in (False, True):
        module = SpatialShuffle(7)
        module(x)
        if evaluated:
            module.eval()
            generator = torch.get_rng_state()
            with torch.set_grad_enabled(gradients):
                if seek:
                    module.seek(5, 6)
                module(x)
            assert gradients or torch.get_rng_state().equal(generator)
        outputs.append(module.train()(x))
    assert outputs[0].equal(outputs[1])


@pytest.mark.parametrize("training", [True, False])
def test_without_a_seed_it_is_torchs(training: bool) -> None:
    x, module = numbered(1, 16, 4, 4), SpatialShuffle(7).train(training)
    outputs = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        outputs += [module(x), SpatialShuffle(7).train(training)(x), module(x)]
    assert outputs[0].equal(outputs[1])
    assert outputs[3].equal(outputs[4])
    assert all(one.equal(other) for one, other in zip(outputs[:3], outputs[6:], strict=True))
    assert all_differ([outputs[0], outputs[2], outputs[3], outputs[5]])
    module.train().seek(0, 0)
    sought = module.train(training)(x)
    torch.manual_seed(3)
    assert not module(x).equal(sought)
    module.train().seek(0, 0)
    assert module.train(training)(x).equal(sought)  # a seed that was given stays


@each_module
def test_each_process_draws_for_itself(make: Callable[..., Shuffle], monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbered(1, 16, 4, 4)
    outputs = [make(7)(x)]
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for rank in (0, 1, 3, 1000):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        module = make(7)
        outputs += [module(x), module(x)]
    assert outputs.pop(0).equal(outputs[0])
    assert all_differ(outputs)


# ---------------------------------------------------------------- gradients


@each_method
def test_gradient_is_that_of_the_permutation_matrix(method: str) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    if method == "channel":
        order, product_of = channel_permutation(3, 6), "cd,ndhw->nchw"
    elif method in BLOCKS:
        order, product_of = block_permutation(3, 4, 5, 6, BLOCKS[method]), "cij,ncj->nci"
    elif method == "joint":
        order, product_of = channel_permutation(20, 6), "ij,ncj->nci"
    else:
        order = spatial_permutation(3, 4, 5, 6, patch=2 if method == "patch" else None)
        product_of = "cij,ncj->nci"
    matrix = nn.functional.one_hot(order, order.shape[-1]).double()
    expected = torch.einsum(product_of, matrix, x if method == "channel" else x.flatten(2)).view_as(x)
    shuffled = FUNCTIONS[method](x, 6)
    assert shuffled.equal(expected)
    found, wanted = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (shuffled, expected))
    assert found.equal(wanted)


@each_method
@pytest.mark.parametrize("per_image", [False, True])
def test_gradients_numerically(method: str, per_image: bool) -> None:
    for layout in LAYOUTS:
        x = torch.randn(2, 3, 3, 2, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()

        def run(x: Tensor) -> Tensor:
            return FUNCTIONS[method](x, 4, per_image=per_image).sin()

        assert torch.autograd.gradcheck(run, x)
        assert per_image or torch.autograd.gradgradcheck(run, x)


# ---------------------------------------------------------------- what it costs


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists the operations that run and their outputs, and counts the index tensors alive at the gather."""

    def __init__(self, index_size: int, *, keep: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.index_bytes, self.keep = 8 * index_size, keep
        self.names: list[str] = []
        self.outputs: list[Tensor] = []
        self.made: list[weakref.ref[Tensor]] = []
        self.indices_at_gather = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.names.append(func.overloadpacket.__name__)
        tensors = [value for value in torch.utils._pytree.tree_leaves(output) if isinstance(value, Tensor)]
        self.made += map(weakref.ref, tensors)
        self.outputs += tensors if self.keep else []
        if self.names[-1] in ("gather", "index_select"):
            alive = [tensor for made in self.made if (tensor := made()) is not None]
            storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in alive}
            self.indices_at_gather = sum(
                tensor.dtype == torch.int64 and tensor.untyped_storage().nbytes() >= self.index_bytes
                for tensor in storages.values()
            )
        return output


@each_method
@each_layout
def test_one_gather_one_index_tensor_and_one_output(method: str, layout: torch.memory_format) -> None:
    counts = []
    for channels in (4, 8):
        index_size = {"channel": channels, "joint": 4 * 6}.get(method, channels * 4 * 6)
        kept: list[Tensor] = []
        # of three images, so that the largest index (8 bytes a position) is smaller than they are
        x = torch.zeros(3, channels, 4, 6).contiguous(memory_format=layout).requires_grad_()
        with (
            Operations(index_size, keep=True) as ran,
            torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: _),
        ):
            FUNCTIONS[method](x, 3)
        assert sum(name in ("gather", "index_select") for name in ran.names) == 1
        storages = {output.untyped_storage().data_ptr(): output.untyped_storage() for output in ran.outputs}
        storages.pop(x.untyped_storage().data_ptr(), None)
        assert sum(storage.nbytes() >= 4 * x.numel() for storage in storages.values()) == 1
        assert [(tensor.dtype, tensor.numel()) for tensor in kept] == [(torch.int64, index_size)]
        counts.append(len(ran.names))
        with Operations(index_size, keep=False) as ran:
            FUNCTIONS[method](x.detach(), 3)
        assert ran.indices_at_gather == 1
    assert counts[0] == counts[1]  # no loop over channels


@each_method
def test_nothing_is_read_back(method: str) -> None:
    assert channel_permutation(3, 3, torch.device("meta")).device.type == "meta"
    # A meta tensor has no values: whatever looked at one, and on a GPU waited for it, would raise.
    x = torch.zeros(2, 3, 4, 4, device="meta", requires_grad=True)
    shuffled = FUNCTIONS[method](x, 3)
    assert shuffled.shape == (2, 3, 4, 4)
    assert torch.autograd.grad(shuffled, x, shuffled)[0].shape == (2, 3, 4, 4)


# ---------------------------------------------------------------- as part of a network


@each_module
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_no_state_and_copies_that_go_on_by_themselves(
    make: Callable[..., Shuffle], copied: Callable[[Shuffle], Shuffle]
) -> None:
    x = numbered(1, 16, 4, 4)
    module = make(3)
    module.seek(1, 2)
    module(x)
    assert not [*module.parameters(), *module.buffers(), *module.state_dict()]
    twin = copied(module)
    ahead = [twin(x) for _ in range(2)]
    assert all(module(x).equal(output) for output in ahead)


@each_method
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_module_is_the_function_whatever_the_default_device(
    method: str, per_image: bool, device: str
) -> None:
    with torch.device(device):
        module = MODULES[method](3, per_image=per_image)
    module.seek(0, 0)
    x = numbered(2, 5, 4, 6)
    assert module(x).equal(FUNCTIONS[method](x, stream_of(0, 0, 3), per_image=per_image))


def test_inference_mode_does_not_hinder_training() -> None:
    module = SpatialShuffle(3)
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    with torch.inference_mode():
        module.seek(0, 1)
        module(x)
    module.seek(0, 2)
    module(x).sum().backward()
    assert x.grad is not None


@each_module
def test_bfloat16_autocast(make: Callable[..., Shuffle]) -> None:
    shuffle = make(3)
    first, last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        before = first(torch.randn(2, 3, 4, 4))
        after = shuffle(before)
        last(after).float().sum().backward()
    assert before.dtype == after.dtype == torch.bfloat16
    assert after.flatten().sort().values.equal(before.flatten().sort().values)
    assert first.weight.grad is not None
    assert first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("backend", "device"), [("aot_eager", "cpu"), ("inductor", "cuda")])
def test_compiled_draws_are_the_eager_ones_without_compiling_again(backend: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU at hand, and on a CPU inductor compiles for a minute: the graph alone is tested")
    torch.compiler.reset()
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, device=device)
    first = nn.Conv2d(3, 4, 1)
    shuffles = (SpatialShuffle(1, 1), PatchShuffle(4, 2, 1), ChannelShuffle(3, 1))
    eager = nn.Sequential(first, shuffles[0], nn.Sigmoid(), *shuffles[1:]).to(device)
    compiled: Callable[[Tensor], Tensor] = torch.compile(eager, fullgraph=True, backend=backend)

    def passes(network: Callable[[Tensor], Tensor]) -> list[tuple[Tensor, ...]]:
        for shuffle in shuffles:
            shuffle.seek(0, 1)
        outputs = [network(x) for _ in range(3)]
        weighted = [(output * numbered(2, 4, 6, 6).to(device)).mean() for output in outputs]
        return [
            (output.detach(), *torch.autograd.grad(loss, first.weight))
            for output, loss in zip(outputs, weighted, strict=True)
        ]

    torch._dynamo.utils.counters.clear()
    ours = passes(compiled)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch.testing.assert_close(ours, passes(eager), rtol=1e-4, atol=1e-5)
    assert all_differ([output for output, _ in ours])


def test_a_compiled_function_leaves_a_number_of_a_draw_to_an_operation() -> None:
    # The compiler folds what it knows, and does so without the overflow at 64 bits: other draws, or an error.
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    x = numbered(2, 3, 4, 4)
    compiled: Any = torch.compile(spatial_shuffle, fullgraph=True, backend=backend)
    for stream in (0, 123456789, -5):
        assert compiled(x, stream).equal(spatial_shuffle(x, stream))
    assert all("stream_of_number" in graph.code for graph in graphs)


def test_the_base_class_is_no_shuffle() -> None:
    with pytest.raises(TypeError, match="use one of its subclasses"):
        Shuffle()(torch.zeros(1, 1, 2, 2))


def test_tokens_that_form_a_grid() -> None:
    grids = {4: (0, 2), 5: (1, 2), 9: (0, 3), 10: (1, 3), 16: (0, 4), 17: (1, 4)}
    assert {count: token_grid(count) for count in range(18)} == dict.fromkeys(range(18)) | grids
