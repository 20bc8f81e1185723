"""Each of several processes that train together draws its own permutations, from the same (seed, step)."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data.image_set import Statistics
from detector import modify_layers, vgg16
from detector.intervene import shuffles
from detector.shuffle import spatial_shuffle, stream_of
from training.tasks.classification import Options
from training.tasks.classification_module import ClassifierModule

SEED, EPOCH, STEPS_PER_EPOCH, BATCH, PROCESSES = 5, 2, 10, 3, 2


def test_the_rank_enters_a_draw_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = modify_layers(vgg16(3, width=1 / 16), "spatial", layer=9)
    options = Options.from_flat({"seed": SEED, "batch_size": 2})
    statistics = Statistics((0.5,) * 3, (0.25,) * 3)
    module: Any = ClassifierModule(network, options, 2 * STEPS_PER_EPOCH, {}, statistics=statistics)
    module.log = module.log_dict = lambda *_, **__: None
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    batch = {"images": images, "labels": torch.tensor([0, 2])}
    strategy = SimpleNamespace(reduce_boolean_decision=bool)
    shuffle = next(shuffles(module))
    streams: list[int] = []
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
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
