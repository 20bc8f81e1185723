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
    ChannelShuffle,
    PatchShuffle,
    Shuffle,
    SpatialShuffle,
    channel_permutation,
    channel_shuffle,
    patch_shuffle,
    spatial_permutation,
    spatial_shuffle,
    stream_of,
)

FUNCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "spatial": spatial_shuffle,
    "patch": lambda x, stream: patch_shuffle(x, 2, stream),
    "channel": channel_shuffle,
}
MODULES: dict[str, Callable[..., Shuffle]] = {
    "spatial": SpatialShuffle,
    "patch": lambda *key, **modes: PatchShuffle(2, *key, **modes),
    "channel": ChannelShuffle,
}
each_function = pytest.mark.parametrize("shuffle", FUNCTIONS.values(), ids=FUNCTIONS)
each_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
quick = settings(deadline=None, max_examples=30)
sizes = st.tuples(*(st.integers(1, 7),) * 3)


def numbered(*shape: int) -> Tensor:
    """A tensor in which every value tells where it came from."""
    return torch.arange(float(math.prod(shape))).view(shape)


def chi_square(counts: Tensor) -> float:
    """How many standard deviations the chi-square statistic against equal counts lies above its mean."""
    expected = counts.sum() / counts.numel()
    freedom = counts.numel() - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom))


def arrangement(orders: Tensor) -> Tensor:
    """The number, 0 to L! − 1, of each row's permutation of L positions."""
    rank = {order: number for number, order in enumerate(permutations(range(orders.shape[-1])))}
    return torch.tensor([rank[tuple(order)] for order in orders.tolist()])


# ---------------------------------------------------------------- nothing to shuffle


@each_function
def test_no_images(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    assert shuffle(torch.zeros(0, 3, 4, 4), 1).shape == (0, 3, 4, 4)


@each_function
@pytest.mark.parametrize("size", [(2, 0, 3, 4), (2, 3, 0, 4)])
def test_no_channels_and_no_positions(
    shuffle: Callable[[Tensor, int], Tensor], size: tuple[int, int, int, int]
) -> None:
    assert shuffle(torch.zeros(size), 1).shape == size


@each_function
def test_one_channel_of_one_position(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    assert shuffle(torch.full((2, 1, 1, 1), 5.0), 1).equal(torch.full((2, 1, 1, 1), 5.0))


# ---------------------------------------------------------------- what stays and what changes


@quick
@given(sizes, st.integers(-(2**63), 2**63 - 1))
def test_spatial_keeps_each_channels_values(size: tuple[int, int, int], stream: int) -> None:
    x = numbered(2, *size)
    shuffled = spatial_shuffle(x, stream)
    assert shuffled.flatten(2).sort().values.equal(x.flatten(2))


@quick
@given(sizes, st.integers(0, 2**62))
def test_channel_moves_whole_maps(size: tuple[int, int, int], stream: int) -> None:
    x = numbered(2, *size)
    shuffled = channel_shuffle(x, stream)
    source = channel_permutation(size[0], stream)
    assert source.sort().values.equal(torch.arange(size[0]))
    for channel in range(size[0]):
        assert shuffled[:, channel].equal(x[:, source[channel]])


@quick
@given(sizes, st.integers(1, 8), st.integers(0, 2**62))
def test_patch_keeps_each_patchs_values(size: tuple[int, int, int], patch: int, stream: int) -> None:
    x = numbered(2, *size)
    shuffled = patch_shuffle(x, patch, stream)
    for top, left in product(range(0, size[1], patch), range(0, size[2], patch)):
        window = (slice(None), slice(None), slice(top, top + patch), slice(left, left + patch))
        assert shuffled[window].flatten(2).sort().values.equal(x[window].flatten(2).sort().values)


@each_function
def test_order_changes(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    x = numbered(1, 8, 6, 6)
    shuffled = shuffle(x, 3)
    for channel in range(8):
        assert not shuffled[0, channel].equal(x[0, channel])
    moved = (shuffled != x).double().mean()
    assert moved > 0.6  # a patch of 4 positions keeps one in four


def test_patches_that_do_not_divide_the_map_are_shuffled_to_the_rim() -> None:
    orders = spatial_permutation(200, 5, 5, 1, patch=3)
    moved = (orders != torch.arange(25)).double().mean(0).view(5, 5)
    assert moved.min() > 0.6  # 2×2 in the corner: three of four move


@pytest.mark.parametrize("patch", [5, 6, 100])
def test_patch_as_large_as_the_map_is_the_spatial_shuffle(patch: int) -> None:
    x = torch.randn(2, 3, 4, 5)
    assert patch_shuffle(x, patch, 9).equal(spatial_shuffle(x, 9))


def test_patch_as_large_as_one_side_only_still_holds_the_other() -> None:
    shuffled = patch_shuffle(numbered(1, 50, 2, 4), 2, 9) % 4  # the column that each value came from
    assert (shuffled[..., :2] < 2).all()
    assert (shuffled[..., 2:] >= 2).all()


def test_patch_of_one_position_is_the_identity() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert patch_shuffle(x, 1, 9).equal(x)


@pytest.mark.parametrize("patch", [0, -1])
def test_patch_below_one(patch: int) -> None:
    with pytest.raises(ValueError, match=f"patch must be at least 1 position, found {patch}"):
        patch_shuffle(torch.zeros(1, 1, 4, 4), patch, 0)
    with pytest.raises(ValueError, match=f"patch must be at least 1 position, found {patch}"):
        PatchShuffle(patch)


def test_too_many_patches() -> None:
    with pytest.raises(ValueError, match="too many patches of 1"):
        spatial_permutation(1, 1025, 1025, 0, patch=1)


@each_function
def test_same_for_all_images(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    x = torch.randn(1, 4, 4, 4).expand(3, -1, -1, -1)
    shuffled = shuffle(x, 5)
    assert shuffled[0].equal(shuffled[1])
    assert shuffled[0].equal(shuffled[2])


@pytest.mark.parametrize("patch", [None, 2])
def test_channels_have_their_own_permutations(patch: int | None) -> None:
    orders = spatial_permutation(30, 4, 4, 5, patch=patch)
    assert len({tuple(order) for order in orders.tolist()}) == 30


# ---------------------------------------------------------------- how they are drawn


def test_all_arrangements_are_equally_frequent_among_channels() -> None:
    orders = spatial_permutation(24 * 400, 2, 2, 11)
    assert abs(chi_square(arrangement(orders).bincount(minlength=24))) < 3


def test_all_arrangements_are_equally_frequent_among_draws() -> None:
    orders = torch.stack([channel_permutation(4, stream) for stream in range(24 * 100)])
    assert abs(chi_square(arrangement(orders).bincount(minlength=24))) < 3


def test_all_arrangements_of_a_patch_are_equally_frequent() -> None:
    orders = spatial_permutation(24 * 200, 4, 4, 12, patch=2)
    patches = torch.arange(16).view(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
    for places in patches:
        inside = torch.searchsorted(places, orders[:, places])
        assert abs(chi_square(arrangement(inside).bincount(minlength=24))) < 3


def test_every_position_goes_everywhere_equally_often() -> None:
    orders = spatial_permutation(20_000, 3, 5, 13)
    counts = torch.stack([column.bincount(minlength=15) for column in orders.unbind(1)])
    # The rows and columns of the counts add up to the same: 14² degrees of freedom, not 15² − 1.
    statistic = ((counts - 20_000 / 15) ** 2 / (20_000 / 15)).sum()
    assert abs(statistic - 14**2) / math.sqrt(2 * 14**2) < 3


def test_neighbouring_channels_are_independent() -> None:
    number = arrangement(spatial_permutation(2 * 36 * 300, 1, 3, 14))
    pairs = number[0::2] * 6 + number[1::2]
    assert abs(chi_square(pairs.bincount(minlength=36))) < 3


def test_consecutive_draws_are_independent() -> None:
    number = arrangement(torch.stack([channel_permutation(3, stream) for stream in range(36 * 60 + 1)]))
    pairs = number[:-1] * 6 + number[1:]
    assert abs(chi_square(pairs.bincount(minlength=36))) < 3


@pytest.mark.parametrize(
    ("shuffle", "shape", "reordered", "possible"),
    [  # a map, the same in an order that the shuffle makes it blind to, and how many outputs there can be
        (SpatialShuffle(1), (1, 1, 1, 3), [2, 0, 1], 6),
        (PatchShuffle(2, 1), (1, 1, 1, 4), [1, 0, 3, 2], 4),
        (ChannelShuffle(1), (1, 3, 1, 1), [2, 0, 1], 6),
    ],
)
def test_a_shuffled_layer_is_blind_to_the_order_of_its_input(
    shuffle: Shuffle, shape: tuple[int, ...], reordered: list[int], possible: int
) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(shuffle, nn.Conv2d(shape[1], 1, 3, padding=1)).double()
    plain = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)[: len(reordered)]
    draws = possible * 150
    with torch.no_grad():
        inputs = (plain.view(shape), plain[reordered].view(shape))
        seen = [torch.cat([layer(x).flatten(1) for _ in range(draws)]) for x in inputs]
    rounded = torch.cat(seen).round(decimals=9)
    outcomes, which = torch.unique(rounded, dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    assert len(outcomes) == possible  # of both together: neither gives an output that the other cannot give
    for counts in (which[:draws], which[draws:]):
        assert abs(chi_square(counts.bincount(minlength=possible))) < 3


def test_draws_are_those_of_every_version_and_device() -> None:
    # Results that were made with some seed stay reproducible: these must never change.
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in map(torch.device, devices):
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
def test_draws_anew_at_each_pass_in_both_modes(make: Callable[..., Shuffle]) -> None:
    x = numbered(1, 16, 4, 4)
    module = make(7)
    outputs = [module.train(training)(x) for training in (True, True, True, False, False, False)]
    for one, other in permutations(outputs, 2):
        assert not one.equal(other)


@each_module
def test_seek_repeats_draws(make: Callable[..., Shuffle]) -> None:
    x = numbered(1, 16, 4, 4)
    module = make(7)
    module.seek(3, 20)
    first = [module(x) for _ in range(3)]
    module.seek(3, 20)
    assert all(module(x).equal(output) for output in first)
    another = make(7)
    another.seek(3, 20)
    assert another(x).equal(first[0])


@each_module
def test_draws_differ_by_seed_step_and_key(make: Callable[..., Shuffle]) -> None:
    x = numbered(1, 16, 4, 4)
    outputs = []
    for key, seed, step in [((7, 0), 0, 0), ((7, 1), 0, 0), ((8, 0), 0, 0), ((7, 0), 1, 0), ((7, 0), 0, 1)]:
        module = make(*key)
        module.seek(seed, step)
        outputs.append(module(x))
    for one, other in permutations(outputs, 2):
        assert not one.equal(other)


@each_module
@pytest.mark.parametrize(("in_training", "in_evaluation"), list(product([True, False], repeat=2)))
def test_modes(make: Callable[..., Shuffle], in_training: bool, in_evaluation: bool) -> None:
    x = numbered(1, 16, 4, 4)
    module = make(in_training=in_training, in_evaluation=in_evaluation)
    assert module.train()(x).equal(x) != in_training
    assert module.eval()(x).equal(x) != in_evaluation


def test_a_mode_that_is_off_uses_no_draw() -> None:
    x = numbered(1, 16, 4, 4)
    module = SpatialShuffle(in_training=False)
    module.seek(0, 5)
    module.train()(x)
    assert module.eval()(x).equal(spatial_shuffle(x, stream_of(0, 5)))


@each_module
def test_each_process_draws_for_itself(make: Callable[..., Shuffle], monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbered(1, 16, 4, 4)
    alone = make(7)
    outputs = [alone(x)]
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for rank in range(3):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        module = make(7)
        outputs += [module(x), module(x)]
    assert outputs.pop(0).equal(outputs[0])
    for one, other in permutations(outputs, 2):
        assert not one.equal(other)


# ---------------------------------------------------------------- a draw for each image


PER_IMAGE: dict[str, Callable[[Tensor], Tensor]] = {
    "spatial": lambda x: spatial_shuffle(x, 5, per_image=True),
    "patch": lambda x: patch_shuffle(x, 2, 5, per_image=True),
    "channel": lambda x: channel_shuffle(x, 5, per_image=True),
}
each_per_image = pytest.mark.parametrize(("name", "shuffle"), PER_IMAGE.items(), ids=PER_IMAGE)


@each_per_image
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_have_their_own_permutations(
    name: str, shuffle: Callable[[Tensor], Tensor], memory_format: torch.memory_format
) -> None:
    x = numbered(1, 6, 4, 5).repeat(3, 1, 1, 1).contiguous(memory_format=memory_format)
    shuffled = shuffle(x)
    assert shuffled.is_contiguous(memory_format=memory_format)
    assert shuffled.equal(shuffle(x.contiguous()))
    along = 1 if name == "channel" else 2
    assert shuffled.flatten(2).sort(along).values.equal(x.flatten(2).sort(along).values)
    assert shuffled[0].equal(FUNCTIONS[name](x[:1], 5)[0])  # the first image has what all would share
    for one, other in permutations(shuffled, 2):
        assert not one.equal(other)


@each_per_image
def test_no_images_of_their_own(name: str, shuffle: Callable[[Tensor], Tensor]) -> None:
    assert shuffle(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)


# ---------------------------------------------------------------- gradients


def permutation_matrix(order: Tensor) -> Tensor:
    """``(…, L)`` to ``(…, L, L)``: the matrix whose product with a vector reorders it."""
    return nn.functional.one_hot(order, order.shape[-1]).double()


@pytest.mark.parametrize("patch", [None, 2])
def test_gradient_is_that_of_the_permutation_matrix(patch: int | None) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    matrix = permutation_matrix(spatial_permutation(3, 4, 5, 6, patch=patch))
    expected = torch.einsum("cij,ncj->nci", matrix, x.flatten(2)).view_as(x)
    shuffled = spatial_shuffle(x, 6) if patch is None else patch_shuffle(x, patch, 6)
    assert shuffled.equal(expected)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    (found,) = torch.autograd.grad((shuffled * weight).sum(), x)
    assert found.equal(wanted)


def test_gradient_of_the_channel_shuffle_is_that_of_the_permutation_matrix() -> None:
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    expected = torch.einsum("cd,ndhw->nchw", permutation_matrix(channel_permutation(5, 6)), x)
    shuffled = channel_shuffle(x, 6)
    assert shuffled.equal(expected)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    (found,) = torch.autograd.grad((shuffled * weight).sum(), x)
    assert found.equal(wanted)


@each_function
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_numerically(
    shuffle: Callable[[Tensor, int], Tensor], memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: shuffle(x, 4).sin(), x)
    assert torch.autograd.gradgradcheck(lambda x: shuffle(x, 4).sin(), x)


@each_per_image
def test_gradients_numerically_for_each_image(name: str, shuffle: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: shuffle(x).sin(), x)


# ---------------------------------------------------------------- what it costs


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists the operations that run, and keeps what they return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.outputs: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.names.append(func.overloadpacket.__name__)
        self.outputs += [value for value in [output] if isinstance(value, Tensor)]
        return output


@each_function
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_one_gather_one_index_tensor_and_one_output(
    shuffle: Callable[[Tensor, int], Tensor], memory_format: torch.memory_format
) -> None:
    counts = []
    for channels in (4, 8):
        kept: list[Tensor] = []
        # of three images, so that the largest index (8 bytes a position) is smaller than they are
        x = torch.zeros(3, channels, 4, 6).contiguous(memory_format=memory_format).requires_grad_()
        with Operations() as ran, torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: _):
            shuffle(x, 3)
        assert sum(name in ("gather", "index_select") for name in ran.names) == 1
        storages = {output.untyped_storage().data_ptr(): output.untyped_storage() for output in ran.outputs}
        storages.pop(x.untyped_storage().data_ptr(), None)
        assert sum(storage.nbytes() >= 4 * x.numel() for storage in storages.values()) == 1
        assert [tensor.dtype for tensor in kept] == [torch.int64]
        assert kept[0].numel() in (channels, channels * 4 * 6)
        counts.append(len(ran.names))
    assert counts[0] == counts[1]  # no loop over channels


class Indices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the index tensors that are there when the gather has made its output."""

    def __init__(self, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size = size
        self.made: list[weakref.ref[Tensor]] = []
        self.there = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        several = output if isinstance(output, tuple) else (output,)
        self.made += [weakref.ref(value) for value in several if isinstance(value, Tensor)]
        if func.overloadpacket.__name__ in ("gather", "index_select"):
            alive = [tensor for made in self.made if (tensor := made()) is not None]
            storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in alive}
            self.there = sum(
                tensor.dtype == torch.int64 and tensor.untyped_storage().nbytes() >= 8 * self.size
                for tensor in storages.values()
            )
        return output


@each_function
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_one_index_tensor_lies_beside_the_output(
    shuffle: Callable[[Tensor, int], Tensor], memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, 8, 4, 6).contiguous(memory_format=memory_format)
    with Indices(8 if shuffle is channel_shuffle else 8 * 4 * 6) as ran:
        shuffle(x, 3)
    assert ran.there == 1


@each_function
def test_nothing_is_read_back(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    # A meta tensor has no values: whatever looked at one, and on a GPU waited for it, would raise.
    x = torch.zeros(2, 3, 4, 4, device="meta", requires_grad=True)
    shuffled = shuffle(x, 3)
    assert shuffled.shape == (2, 3, 4, 4)
    assert torch.autograd.grad(shuffled, x, shuffled)[0].shape == (2, 3, 4, 4)


# ---------------------------------------------------------------- as part of a network


@each_module
def test_no_parameters_and_no_buffers(make: Callable[..., Shuffle]) -> None:
    module = make(3)
    module(torch.zeros(1, 2, 2, 2))
    assert not list(module.parameters())
    assert not list(module.buffers())
    assert not module.state_dict()


@each_module
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_goes_on_by_itself(make: Callable[..., Shuffle], copied: Callable[[Shuffle], Shuffle]) -> None:
    x = numbered(1, 16, 4, 4)
    module = make(3)
    module.seek(1, 2)
    module(x)
    twin = copied(module)
    ahead = [twin(x) for _ in range(2)]
    assert module(x).equal(ahead[0])
    assert module(x).equal(ahead[1])


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_draws_do_not_depend_on_the_default_device(device: str) -> None:
    with torch.device(device):
        module = SpatialShuffle(3)
    module.seek(0, 0)
    x = numbered(1, 2, 3, 3)
    assert module(x).equal(spatial_shuffle(x, stream_of(0, 0, 3)))


def test_inference_mode_does_not_hinder_training() -> None:
    module = SpatialShuffle(3)
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    with torch.inference_mode():
        module.seek(0, 1)
        module(x)
    module.seek(0, 2)
    module(x).sum().backward()
    assert x.grad is not None


@each_function
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_keeps_the_memory_format(
    shuffle: Callable[[Tensor, int], Tensor], memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, 6, 4, 5)
    shuffled = shuffle(x.contiguous(memory_format=memory_format), 8)
    assert shuffled.is_contiguous(memory_format=memory_format)
    assert shuffled.equal(shuffle(x, 8))


@each_function
def test_takes_views(shuffle: Callable[[Tensor, int], Tensor]) -> None:
    x = torch.randn(2, 6, 8, 5)[:, :, ::2].transpose(2, 3)
    assert shuffle(x, 8).equal(shuffle(x.clone(memory_format=torch.contiguous_format), 8))


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
    assert not ours[0][0].equal(ours[1][0])
    assert not ours[1][0].equal(ours[2][0])


def test_the_base_class_is_no_shuffle() -> None:
    with pytest.raises(TypeError, match="use one of its subclasses"):
        Shuffle()(torch.zeros(1, 1, 1, 1))


def test_repr_says_the_patch() -> None:
    assert repr(PatchShuffle(3)) == "PatchShuffle(patch=3)"
