"""Fixtures that every test may use."""

import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline for each example would fail tests on a busy machine that pass on an idle one.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Let Ctrl-C be Ctrl-C for the processes that tests start: one in the background would ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.dont_write_bytecode:  # the interpreters that tests start would compile torch anew each time
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")


LONG = (
    r"training/test_benchmarks\.py",
    r"tests/data/test_(classification|voc)\.py.*real",
    r"test_average_precision\.py.*a_real_detector",
    r"test_budget\.py.*(goes_on_with_the_epochs|time_is_over)",
    r"test_command\.py.*until_something_is_compiled",
    r"test_compare\.py.*images_repeated",
    r"test_figures\.py.*(legible\[(three|empty|single|blind)|on_paper_are_legible|any_script|of_many)",
    r"test_fuzz\.py.*for_seconds",
    r"test_further_options\.py.*(learning_rate|multi_scale)",
    r"test_golden\.py.*voc_iou75",
    r"test_intervene\.py.*(is_exported_and_undone\[(resnet18-spatial|vit)|compiled_as_one_graph)",
    r"test_launch\.py.*(ray|near_the_limit|cluster_that_runs|worker_is_killed)",
    r"test_libraries\.py.*same_weights.*\[(basic|bottleneck|vit)",
    r"test_main\.py.*real_pictures\[every",
    r"test_odd_uses\.py.*explicit_permutations\[.*compiled",
    r"test_processes\.py.*(classification-devices|sizes_and_patience)",
    r"test_profiling\.py.*(networks_of_others|map_and_the_five|cumulative_controls|torchvision)",
    r"test_results\.py.*(labels_do_not_lie|figure_8|true_training)",
    r"test_run\.py.*(every_kind_of_network|starts_from_another)",
    r"test_shortcuts\.py.*(compiled|exported)",
    r"test_step\.py.*(average_of_the_weights.*detection|compiled_step)",
    r"test_trained\.py.*(program_of_torch_export|export_refuses)",
)
"""The tests that take a quarter of the time: ``make test-long`` runs them, ``make test`` does not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the long tests."""
    for item in items:
        if any(re.search(pattern, item.nodeid) for pattern in LONG):
            item.add_marker("long")


def pytest_collection_finish() -> None:
    """Let the processes that are forked from this one run backward passes.

    If torch made fake tensors, as for torch.export, before its first backward pass, that pass starts threads
    for a GPU that is not there, and forks cannot have any.
    """
    if torch := sys.modules.get("torch"):
        torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not at hand: {folder} is absent")
    return folder


@pytest.fixture
def in_two_processes(tmp_path: Path) -> Callable[[Callable[[int], None]], None]:
    """Runs a function of the rank in two forked processes that can talk by gloo: ``run(function)``."""
    import torch

    def child(rank: int, function: Callable[[int], None]) -> None:
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=rank, world_size=2)
        function(rank)
        (tmp_path / f"ended{rank}").touch()
        while not (tmp_path / f"ended{1 - rank}").exists():
            time.sleep(0.01)
        os._exit(0)  # without taking the process group apart, which can hang in a fork

    def run(function: Callable[[int], None]) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            pytest.skip("needs fork(): new interpreters would import torch for seconds")
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=child, args=(rank, function)) for rank in (0, 1)]
        try:
            for process in children:
                process.start()
            for process in children:
                process.join(timeout=300)
            assert [process.exitcode for process in children] == [0, 0]
        finally:
            for process in children:
                process.kill()

    return run


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenes of ``python -m diagnosis --demo`` in it, which are drawn once."""
    from diagnosis.demo import OUT, draw_scenes

    folder = tmp_path_factory.mktemp("demo") / OUT
    draw_scenes(folder)
    return folder
