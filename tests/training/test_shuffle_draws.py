"""Each of several processes that train together draws its own permutations, from the same (seed, step)."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data.image_set import Statistics
from detector import YOLO, modify_layers, resnet18, vgg16
from detector.intervene import shuffles
from detector.shuffle import spatial_shuffle, stream_of
from training.classification.module import ClassifierModule
from training.classification.options import OptimizationOptions as ClassifierOptimization
from training.classification.options import Options as ClassifierOptions
from training.detection.module import DetectorModule
from training.detection.options import EvaluationOptions, OptimizationOptions

SEED, EPOCH, STEPS_PER_EPOCH, BATCH, PROCESSES = 5, 2, 10, 3, 2


def classifier() -> tuple[Any, Any]:
    options = ClassifierOptions(optimization=ClassifierOptimization(seed=SEED))
    network = modify_layers(vgg16(3, width=1 / 16), "spatial", layer=9)
    module = ClassifierModule(network, options, Statistics((0.5,) * 3, (0.25,) * 3), STEPS_PER_EPOCH)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    return module, {"images": images, "labels": torch.tensor([0, 2])}


def detector() -> tuple[Any, Any]:
    model = YOLO(modify_layers(resnet18(None, width=1 / 16), "spatial", last=1), 3, 2, 1, head_channels=4)
    optimization = OptimizationOptions(seed=SEED, batch_size=2)
    names = tuple(map(str, range(2 * STEPS_PER_EPOCH)))
    module = DetectorModule(model, optimization, EvaluationOptions(), validation=None, train_names=names)
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    return module, {"images": images, "targets": [target] * 2, "index": torch.arange(2)}


@pytest.mark.parametrize("make", [classifier, detector])
def test_the_rank_enters_a_draw_once(
    make: Callable[[], tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module, batch = make()
    module.log = module.log_dict = lambda *_, **__: None
    strategy = SimpleNamespace(reduce_boolean_decision=bool)
    shuffle = next(shuffles(module))
    streams, outputs = [], []
    shuffle.register_forward_pre_hook(lambda module, _: streams.append(int(module.stream)))
    shuffle.register_forward_hook(lambda _, inputs, output: outputs.append((inputs[0], output)))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    for rank in range(PROCESSES):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        module._trainer = SimpleNamespace(
            current_epoch=EPOCH, global_rank=rank, global_step=0, world_size=PROCESSES, strategy=strategy
        )
        module.training_step(batch, BATCH)
    # In all processes the same place in the stream of draws, to which the shuffle adds the rank.
    step = (EPOCH * STEPS_PER_EPOCH + BATCH) * PROCESSES
    assert streams == [stream_of(SEED, step, *shuffle.key)] * PROCESSES
    assert outputs[0][1].equal(spatial_shuffle(outputs[0][0], streams[0]))
    assert not outputs[1][1].equal(spatial_shuffle(outputs[1][0], streams[0]))
