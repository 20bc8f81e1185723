"""What the shuffles cost: beside a Python loop over channels, beside a plain copy, and in a training step.

    python benchmarks/shuffle.py                 # on a GPU where there is one
    python benchmarks/shuffle.py --quick         # one round, and a step of a thin network
    python benchmarks/shuffle.py --part maps     # of maps, memory, step
    python benchmarks/shuffle.py --hand-back     # without what the training commands tell the allocator
    python benchmarks/shuffle.py --beside FOLDER --threads 1   # beside the code of another checkout

The index of every draw is made within the time. All contenders take turns in every round and the best times
are compared, since other programs only ever add to them. The shuffle is compared with two loops: one as one
writes it down, for whose gradient PyTorch fills a whole map with zeros for each channel, and the fastest
that we found. A copy is one of the map and, with a backward pass, another of the gradient.
Exit code 0 also where a target is missed; the line then says so.

Beside another checkout each call has one of the other as its pair, in turn in one process, and what counts is
the median of the ratios of processor time (of time, on a GPU), with its quartiles.
"""

from __future__ import annotations

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler, which counts the memory, talks otherwise

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import command_line, measure
from data.formats.processes import keep_freed_memory
from detector import channel_shuffle, modify_layers, patch_shuffle, spatial_shuffle, vgg16
from detector.intervene import shuffles
from detector.shuffle import Shuffle

MAPS = ((64, 64, 32, 32), (128, 512, 4, 4), (16, 2048, 14, 14))
LARGE = 1 << 22  # values of a map from which the loop's target counts
LOOP_TARGET, COPY_TARGET = 5.0, 3.0
LAST_TARGET, ALL_TARGET = 0.01, 0.10
MEMORY_TARGET = 1.05

Method = Literal["spatial", "patch", "channel"]
Contender = Callable[[Tensor], Tensor]


def main() -> int:
    options = arguments()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    if not options.hand_back:
        keep_freed_memory()  # as the training commands do
    device = torch.device(options.device)
    print(f"{where(device)}, torch {torch.__version__}, best of {options.repeat} rounds", flush=True)
    if device.type != "cuda":
        print("no GPU in use: its target, at most 3 copies' time, is not measured here")
    if options.beside:
        compare_trees(options, device)
        return 0
    for name, part in PARTS.items():
        if name in options.part:
            part(options, device)
    return 0


def where(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"


# ---------------------------------------------------------------- beside the loop and the copy


class Kind(NamedTuple):
    """A shuffle and what it is compared with."""

    name: str
    shuffle: Contender
    loop: Contender
    best_loop: Contender


def kinds() -> list[Kind]:
    """The shuffles, each with a new stream at every call."""
    number = iter(range(1 << 62))
    channel = Kind("channel", lambda x: channel_shuffle(x, next(number)), loop_of_maps, best_loop_of_maps)
    spatial = Kind(
        "spatial", lambda x: spatial_shuffle(x, next(number)), loop_over_channels, best_loop_over_channels
    )

    def patchwise(side: int) -> Kind:
        loops = partial(loop_over_channels, patch=side), partial(best_loop_over_channels, patch=side)
        return Kind(f"patch {side}", lambda x: patch_shuffle(x, side, next(number)), *loops)

    return [spatial, patchwise(2), patchwise(4), channel]


def one_order(x: Tensor, patch: int | None) -> Callable[[], Tensor]:
    """What draws one channel's order with torch.randperm, on the device of `x`."""
    height, width = x.shape[2:]
    if patch is None:
        return lambda: torch.randperm(height * width, device=x.device)
    row = torch.arange(height, device=x.device) // patch
    column = torch.arange(width, device=x.device) // patch
    patch_of = (row[:, None] * width + column).flatten()
    back = patch_of.argsort(stable=True).argsort()

    def draw() -> Tensor:
        order = torch.randperm(height * width, device=x.device)
        return order[patch_of[order].argsort(stable=True)][back]

    return draw


def loop_over_channels(x: Tensor, patch: int | None = None) -> Tensor:
    """A loop over the channels as one writes it down."""
    draw = one_order(x, patch)
    return torch.stack([x[:, c].flatten(1)[:, draw()] for c in range(x.shape[1])], 1).view(x.shape)


def best_loop_over_channels(x: Tensor, patch: int | None = None) -> Tensor:
    """The same with the operations whose gradients are the cheapest."""
    draw = one_order(x, patch)
    planes = x.flatten(2).unbind(1)
    return torch.stack([plane.index_select(1, draw()) for plane in planes], 1).view(x.shape)


def loop_of_maps(x: Tensor) -> Tensor:
    """The channel shuffle as a loop; it has one draw for all channels."""
    return torch.stack([x[:, c] for c in torch.randperm(x.shape[1]).tolist()], 1)


def best_loop_of_maps(x: Tensor) -> Tensor:
    """The same with one operation for all the channels' views."""
    planes = x.unbind(1)
    return torch.stack([planes[c] for c in torch.randperm(x.shape[1]).tolist()], 1)


def compare_maps(options: argparse.Namespace, device: torch.device) -> None:
    """Print how long each shuffle takes for each map."""
    print(f"\n{'milliseconds':38}{'copy':>9}{'loop':>10}{'best loop':>11}{'shuffle':>9}", end="")
    print(f"{'loop/it':>9}{'best/it':>9}{'it/copy':>9}")
    for shape in MAPS:
        for kind in kinds():
            x = torch.randn(shape, device=device).contiguous(memory_format=memory_format(options))
            for backward in (False, True):
                cost = take_turns(kind, x, backward, options, device)
                label = f"{'x'.join(map(str, shape))} {kind.name}"
                print(f"{label:26}{'fwd + bwd' if backward else 'forward':12}", end="")
                for name, width in (("copy", 9), ("loop", 10), ("best_loop", 11), ("shuffle", 9)):
                    print(f"{1000 * cost[name]:{width}.2f}", end="")
                ratios = [cost[name] / cost["shuffle"] for name in ("loop", "best_loop")]
                copies = cost["shuffle"] / cost["copy"]
                print(f"{ratios[0]:8.1f}x{ratios[1]:8.1f}x{copies:8.1f}x", end="")
                if backward and device.type == "cuda":
                    print(f"  at most {COPY_TARGET:.0f} copies: {verdict(copies <= COPY_TARGET)}", end="")
                elif backward and x.numel() >= LARGE:
                    holds = [verdict(ratio >= LOOP_TARGET) for ratio in ratios]
                    print(f"  {LOOP_TARGET:.0f}x the loop: {holds[0]}, the best loop: {holds[1]}", end="")
                print(flush=True)


def take_turns(
    kind: Kind, x: Tensor, backward: bool, options: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Seconds of the copy, the loops and the shuffle."""
    gradient = torch.ones_like(x)
    x = x.detach().requires_grad_(backward)

    def copy() -> None:
        x.detach().clone()
        if backward:
            gradient.clone()

    def run(contender: Contender) -> Callable[[], object]:
        if backward:
            return lambda: torch.autograd.grad(contender(x), x, gradient)
        return lambda: contender(x)

    shuffle = torch.compile(kind.shuffle) if options.compile else kind.shuffle
    works = {"copy": copy, "shuffle": run(shuffle), "best_loop": run(kind.best_loop), "loop": run(kind.loop)}
    best = dict.fromkeys(works, float("inf"))
    for number in range(options.repeat + 1):
        for name, work in works.items():
            # The loop's gradient takes seconds: two times are enough for what is a hundredfold.
            for _ in range(5 if name in ("copy", "shuffle") else int(name != "loop" or number < 2)):
                passed = measure(work, device)
                best[name] = min(best[name], passed) if number or name == "loop" else best[name]
    return best


# ---------------------------------------------------------------- memory


def count_memory(options: argparse.Namespace, device: torch.device) -> None:
    """Print what a shuffle allocates at most, beside one index tensor and one output."""
    print(f"\n{'peak memory, MB':38}{'forward':>9}{'backward':>10}{'index + output':>16}")
    for shape in MAPS:
        for kind in kinds():
            x = torch.randn(shape, device=device).contiguous(memory_format=memory_format(options))
            forward, backward = peaks_of(kind.shuffle, x.requires_grad_(), device)
            index = 8 * x[0].numel() if kind.name != "channel" else 8 * x.shape[1]
            expected = index + x.numel() * x.element_size()
            label = f"{'x'.join(map(str, shape))} {kind.name}"
            print(f"{label:38}{forward / 1e6:9.2f}{backward / 1e6:10.2f}{expected / 1e6:16.2f}", end="")
            print(f"  one index, one output: {verdict(max(forward, backward) <= MEMORY_TARGET * expected)}")


def peaks_of(shuffle: Contender, x: Tensor, device: torch.device) -> tuple[float, float]:
    """Bytes that the forward pass of a shuffle holds at most, and those that its backward pass adds."""
    gradient, outputs = torch.ones_like(x), [shuffle(x)]  # this first one warms up
    forward = peak_of(lambda: outputs.append(shuffle(x)), device)
    return forward, peak_of(lambda: torch.autograd.grad(outputs[1], x, gradient), device)


def peak_of(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that some work holds at most beyond what was allocated before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
            work()
    held = peak = 0
    results = run.profiler.kineto_results  # type: ignore[union-attr]  # set when the profiler stops
    for event in sorted(results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


# ---------------------------------------------------------------- the share of a training step


def make_step(
    options: argparse.Namespace, device: torch.device, last: int
) -> tuple[Callable[[], None], nn.Module]:
    """A training step of VGG-16 on 32x32 images, with spatial shuffles in its last layers; the network."""
    torch.manual_seed(0)
    network = modify_layers(vgg16(100, width=options.width), "spatial", last=last)
    network = network.to(device, memory_format=memory_format(options)).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(options.batch_size, 3, 32, 32, device=device)
    images = images.contiguous(memory_format=memory_format(options))
    labels = torch.randint(100, (options.batch_size,), device=device)
    run = torch.compile(network) if options.compile else network

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16-mixed"):
            loss = nn.functional.cross_entropy(run(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step, network


def compare_steps(options: argparse.Namespace, device: torch.device) -> None:
    """Print the shuffles' share of a training step."""
    print(f"\nVGG-16 of width {options.width:g}, 32x32 pixels, batch {options.batch_size}, ", end="")
    print(f"{options.precision}, SGD", flush=True)
    trained = {last: make_step(options, device, last) for last in (0, 1, 13)}
    entering = inputs_of_shuffles(*trained[13])  # these first steps also warm up
    for other in (0, 1):
        trained[other][0]()
    best = dict.fromkeys(trained, float("inf"))
    own = [float("inf")] * len(entering)
    for number in range(options.repeat):
        for last, (step, _) in trained.items():
            best[last] = min(best[last], measure(step, device))
        for place, (shuffle, x, gradient) in enumerate(entering):
            for turn in range(6):
                run = measure(lambda s=shuffle, x=x, g=gradient: torch.autograd.grad(s(x), x, g), device)  # type: ignore[misc]
                own[place] = min(own[place], run) if number or turn else own[place]
    plain = best[0]
    print(f"{'':38}{'ms':>9}{'share of the plain step':>26}")
    print(f"{'plain step':38}{1000 * plain:9.1f}")
    for last, label, limit in ((1, "last layer", LAST_TARGET), (13, "all thirteen", ALL_TARGET)):
        alone = sum(own[-last:])
        print(f"{label + ': step with them':38}{1000 * best[last]:9.1f}", end="")
        print(f"{best[last] / plain - 1:+26.2%}  (a difference of steps: as noisy as they are)")
        print(f"{label + ': forward + backward alone':38}{1000 * alone:9.2f}{alone / plain:26.2%}", end="")
        whole = options.width == 1 and options.batch_size == 128
        print(f"  under {limit:.0%}: {verdict(alone < limit * plain) if whole else 'for the whole network'}")


def inputs_of_shuffles(step: Callable[[], None], network: nn.Module) -> list[tuple[Shuffle, Tensor, Tensor]]:
    """The shuffles of a network, each with an input and a gradient of the kind that it meets in a step."""
    seen: list[tuple[Shuffle, Tensor, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, Shuffle)
        seen.append((module, inputs[0].detach().clone().requires_grad_(), torch.ones_like(output)))

    handles = [module.register_forward_hook(keep) for module in shuffles(network)]
    step()
    for handle in handles:
        handle.remove()
    return seen


# ---------------------------------------------------------------- beside another checkout


@contextmanager
def tree(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Have these modules as the package `detector`, and collect into them what is imported."""
    own = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "detector"}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "detector"]:
            modules[name] = sys.modules.pop(name)
        sys.modules.update(own)


def rows_of(
    package: Any, options: argparse.Namespace, device: torch.device
) -> dict[str, Callable[[], object]]:
    """What is measured, by name: shuffles as functions and as modules of a network, and training steps."""
    found: dict[str, Callable[[], object]] = {}
    number = iter(range(1 << 62))
    for shape in MAPS:
        x = torch.randn(shape, device=device).contiguous(memory_format=memory_format(options))
        x.requires_grad_()
        gradient = torch.ones_like(x)
        for name, function in (
            ("spatial", package.spatial_shuffle),
            ("patch 2", lambda x, stream: package.patch_shuffle(x, 2, stream)),
            ("channel", package.channel_shuffle),
        ):
            label = f"{'x'.join(map(str, shape))} {name}"

            def forward(f: Any = function, x: Tensor = x) -> Tensor:
                with torch.no_grad():
                    return f(x, next(number))  # type: ignore[no-any-return]

            def both(f: Any = function, x: Tensor = x, gradient: Tensor = gradient) -> object:
                return torch.autograd.grad(f(x, next(number)), x, gradient)

            found |= {f"{label}, forward": forward, f"{label}, forward + backward": both}
    images = torch.randn(options.batch_size, 3, 32, 32, device=device)
    labels = torch.randint(100, (options.batch_size,), device=device)
    for last in (1, 13):
        torch.manual_seed(0)
        network = package.modify_layers(package.vgg16(100, width=options.width), "spatial", last=last)
        network = network.to(device, memory_format=memory_format(options)).train()
        inner = [module for module in network.modules() if type(module).__name__ == "SpatialShuffle"]
        assert len(inner) == last

        def step(network: nn.Module = network) -> None:
            network.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]

        found[f"training step, VGG-16 of width {options.width:g}, last {last} shuffled"] = step
    for shape in ((1, 8, 2, 2), MAPS[1]):
        x = torch.randn(shape, device=device)

        def pass_through(module: nn.Module = inner[0], x: Tensor = x) -> object:
            return module(x)

        found[f"module on {'x'.join(map(str, shape))}, forward"] = pass_through
    return found


def compare_trees(options: argparse.Namespace, device: torch.device) -> None:
    """Print for each row how long it takes here, in times of the other checkout."""
    other: dict[str, ModuleType] = {}
    sys.path.insert(0, str(options.beside))
    with tree(other):
        package = import_module("detector")
        if Path(str(package.__file__)).resolve().parents[1] != options.beside.resolve():
            raise SystemExit(f"--beside: found no package detector in {options.beside}")
        sys.path.remove(str(options.beside))
        theirs = rows_of(package, options, device)
    ours = rows_of(import_module("detector"), options, device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    print(f"\n{'times of the other checkout, median (quartiles)':78}{'ms here':>9}")
    for name, mine in ours.items():
        ratios, costs = [], []
        for number in range(options.pairs + 1):
            seconds = {}
            for work in (mine, theirs[name]) if number % 2 else (theirs[name], mine):
                with tree(other) if work is theirs[name] else nullcontext():
                    begun = clock()
                    repeat = 0
                    while not repeat or (clock() - begun < 0.02 and repeat < 200):
                        work()
                        repeat += 1
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    seconds[work is mine] = (clock() - begun) / repeat
            if number:  # the first warms up
                ratios.append(seconds[True] / seconds[False])
                costs.append(seconds[True])
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:56}{middle:6.2f} ({low:.2f} to {high:.2f}){1000 * min(costs):9.2f}", flush=True)


# ---------------------------------------------------------------- command line


def verdict(holds: bool) -> str:
    return "ok" if holds else "MISSED"


def memory_format(options: argparse.Namespace) -> torch.memory_format:
    return torch.channels_last if options.channels_last else torch.contiguous_format


PARTS: dict[str, Callable[[argparse.Namespace, torch.device], None]] = {
    "maps": compare_maps,
    "memory": count_memory,
    "step": compare_steps,
}


def arguments() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument(
        "--beside", type=Path, metavar="FOLDER", help="another checkout: compare with its code instead"
    )
    parser.add_argument("--pairs", type=int, default=15, help="with --beside, for each row")
    parser.add_argument("--repeat", type=int, default=4, help="rounds")
    parser.add_argument("--quick", action="store_true", help="a thin VGG-16 with batch 16, one round")
    parser.add_argument("--batch-size", type=int, default=128, help="of the training step")
    parser.add_argument("--width", type=float, default=1.0, help="of the VGG-16 in the training step")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--channels-last", action="store_true", help="maps that lie channels last")
    parser.add_argument("--compile", action="store_true", help="shuffles and steps under torch.compile")
    parser.add_argument(
        "--hand-back", action="store_true", help="hand freed memory back to the system, as plain PyTorch does"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.beside and options.compile:
        parser.error("--beside: found --compile; expected one of the two: torch.compile mixes both checkouts")
    if options.quick:
        options.repeat, options.batch_size, options.width = 1, 16, 0.25
    return options


if __name__ == "__main__":
    sys.exit(main())
