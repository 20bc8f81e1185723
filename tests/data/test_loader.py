"""The sampler and the resumable loader, also under Lightning."""

import contextlib
import gc
import logging
import multiprocessing
import pickle

import cv2
import lightning
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint

from data.loader import EpochSampler, KeyedDataset, epoch_loader
from data.records import InputError

COUNT = 11


class Keys(KeyedDataset[tuple[int, int]]):
    """A data set whose items are their own keys."""

    def __len__(self):
        return COUNT

    def __getitem__(self, key):
        return key


def make(batch_size=2, workers=0, *, train=True, rank=0, world_size=1):
    processes = {"rank": rank, "world_size": world_size}
    return epoch_loader(Keys(), torch.tensor, batch_size, seed=1, train=train, workers=workers, **processes)


def batches(loader, epoch):
    """The keys of each batch of an epoch, or of what is left of it."""
    loader.set_epoch(epoch)
    return [batch.tolist() for batch in loader]


# ---------------------------------------------------------------- the sampler


@settings(deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 7), st.integers(0, 9), st.integers(0, 99), st.booleans(), st.booleans()
)
def test_processes_share_an_epoch(count, world_size, epoch, seed, shuffle, drop_last):
    options = {"seed": seed, "shuffle": shuffle, "world_size": world_size, "drop_last": drop_last}
    if count < world_size:
        with pytest.raises(InputError, match="for each"):
            EpochSampler(count, **options)
        return
    parts = []
    for rank in range(world_size):
        sampler = EpochSampler(count, rank=rank, **options)
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == len(sampler)
        assert {key[0] for key in keys} == {epoch}
        parts.append([key[1] for key in keys])
    together = sorted(index for part in parts for index in part)
    assert len(set(together)) == len(together)
    if drop_last:
        assert {len(part) for part in parts} == {count // world_size}
    else:
        assert together == list(range(count))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch, before=()):
        sampler = EpochSampler(50, seed=seed, shuffle=True)
        for earlier in before:
            sampler.set_epoch(earlier)
            list(sampler)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 5) == order(1, 5, before=[0, 3])
    assert len({tuple(key[1] for key in order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@settings(deadline=None)
@given(st.integers(0, 12))
def test_skipping_is_for_one_epoch(skip):
    sampler = EpochSampler(12, seed=2, shuffle=True)
    whole = list(sampler)
    sampler.skip = skip
    assert list(sampler) == whole[skip:]
    assert list(sampler) == whole


@pytest.mark.parametrize(
    ("options", "where"),
    [({"rank": -1, "world_size": 2}, "rank"), ({"rank": 2, "world_size": 2}, "rank"), ({"seed": -1}, "seed")],
)
def test_wrong_options(options, where):
    with pytest.raises(InputError, match=where):
        EpochSampler(5, **options)


# ---------------------------------------------------------------- the loader


@pytest.mark.parametrize("train", [True, False])
def test_processes_share_the_batches(train):
    loaders = [make(2, train=train, rank=rank, world_size=2) for rank in range(2)]
    parts = [batches(loader, 0) for loader in loaders]
    seen = [key[1] for part in parts for batch in part for key in batch]
    assert len(set(seen)) == len(seen)
    if train:
        assert [[len(batch) for batch in part] for part in parts] == [[2, 2], [2, 2]]
    else:
        assert sorted(seen) == list(range(COUNT))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 4, 5])
def test_a_loader_goes_on_where_another_stopped(stop, workers):
    expected = batches(make(), 4)
    assert len(expected) == 5

    first = make(workers=workers)
    first.set_epoch(4)
    for number, _ in zip(range(stop), first, strict=False):
        assert first.state_dict()["batches"] == number + 1  # what workers read ahead does not count
    state = pickle.loads(pickle.dumps(first.state_dict()))

    second = make(workers=workers)
    second.load_state_dict(state)
    assert len(second) == 5  # that of the whole epoch
    assert batches(second, 4) == expected[stop:]
    assert (second.state_dict()["epoch"], second.state_dict()["batches"]) == (4, 5)
    assert batches(second, 4) == expected  # only once
    assert batches(second, 5) == batches(make(), 5)


def test_an_epoch_left_early_or_finished_does_not_touch_the_next():
    loader = make(workers=2)
    next(iter(loader))
    assert batches(loader, 1) == batches(make(), 1)
    assert batches(loader, 0) == batches(make(), 0)
    other = make(batch_size=3)  # between epochs the batch size may change
    other.load_state_dict(loader.state_dict())
    assert batches(other, 1) == batches(make(batch_size=3), 1)


@pytest.mark.parametrize("other", [make(batch_size=3), make(world_size=2)], ids=["batch size", "processes"])
def test_resuming_within_an_epoch_needs_the_same_batches(other):
    loader = make()
    next(iter(loader))
    other.load_state_dict(loader.state_dict())
    with pytest.raises(InputError, match="middle of an epoch with images 11, batch size 2, processes 1"):
        next(iter(other))


class Unreadable(Keys):
    def __getitem__(self, key):
        if key[1] < 2:
            return key
        raise InputError("a.jpg", "rubbish", "an image")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_input_error_arrives_as_itself_and_the_workers_end_well(workers):
    gc.collect()  # workers of other tests
    before = set(multiprocessing.active_children())
    iterator = iter(epoch_loader(Unreadable(), torch.tensor, 2, train=False, workers=workers))
    assert next(iterator).tolist() == [[0, 0], [0, 1]]
    started = [child for child in multiprocessing.active_children() if child not in before]
    assert len(started) == workers
    with pytest.raises(InputError) as raised:
        next(iterator)
    assert str(raised.value) == "a.jpg: found rubbish; expected an image"
    assert type(raised.value) is InputError
    assert [child.exitcode for child in started] == [0] * workers  # none had to be killed after a wait


def test_workers_start_although_opencv_has_threads():
    """OpenCV's threads do not survive a fork: workers hung, or crashed."""
    cv2.setNumThreads(4)
    image = np.zeros((1000, 1000, 3), np.uint8)
    cv2.GaussianBlur(image, (0, 0), 3)  # starts the threads

    class Blurred(Keys):
        def __getitem__(self, key):
            cv2.GaussianBlur(image, (0, 0), 3)
            return key

    loader = epoch_loader(Blurred(), torch.tensor, 2, train=True, workers=2)
    loader.timeout = 60  # instead of for ever
    assert len(list(loader)) == 5


# ---------------------------------------------------------------- under Lightning


QUIET = pytest.mark.filterwarnings(
    "ignore:.*callbacks used to create", "ignore:.*Skipping val loop", "ignore:.*many workers"
)


class Recorder(lightning.LightningModule):
    """Remembers the epoch and the step, by Lightning's count, of each training step, and the batch."""

    def __init__(self, fail_at):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.fail_at = [], fail_at

    def training_step(self, batch, batch_idx):
        if self.global_step == self.fail_at:
            raise ConnectionAbortedError
        self.seen.append((self.current_epoch, self.global_step, batch.tolist()))
        return self.weight.sum() * 0

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(
    folder=None, *, workers=0, resume=None, fail_at=None, steps=-1, validate=True, val_every=1.0, **saves
):
    """What the training saw, of three epochs of five batches or what a checkpoint leaves of them.

    With a `folder`, checkpoints are made in it, as `saves` says.
    """
    saver = folder and ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **saves)
    trainer = lightning.Trainer(
        max_epochs=3,
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[saver] if saver else [],
        enable_checkpointing=bool(saver),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        val_check_interval=val_every,
    )
    model = Recorder(fail_at)
    with contextlib.suppress(ConnectionAbortedError):
        trainer.fit(
            model, make(workers=workers), make(4, train=False) if validate else None, ckpt_path=resume
        )
    return model.seen


@pytest.fixture(scope="module")
def unbroken():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seen = fit()
    expected = [batch for epoch in range(3) for batch in batches(make(), epoch)]
    assert seen == [(i // 5, i, batch) for i, batch in enumerate(expected)]
    return seen


@QUIET
@pytest.mark.parametrize(
    ("saves", "options", "steps"),
    [
        ({"every_n_train_steps": 1}, {}, range(1, 16)),
        ({"every_n_train_steps": 1}, {"validate": False}, range(1, 16)),
        ({"every_n_epochs": 1}, {}, (5, 10, 15)),
        ({"every_n_epochs": 1}, {"validate": False}, (5, 10, 15)),
        # After a validation within an epoch.
        ({"every_n_epochs": 1}, {"val_every": 2}, (2, 4, 7, 9, 12, 14)),
    ],
)
def test_lightning_resumes_with_precisely_the_batches_left(tmp_path, unbroken, saves, options, steps):
    fit(tmp_path, **options, **saves)
    assert {file.name for file in tmp_path.iterdir()} == {f"step={step}.ckpt" for step in steps}
    for step in steps:
        assert fit(resume=tmp_path / f"step={step}.ckpt", **options) == unbroken[step:], step


@QUIET
@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_resumes_after_a_crash(tmp_path, unbroken, workers):
    assert fit(tmp_path, workers=workers, fail_at=8, every_n_train_steps=3) == unbroken[:8]
    assert fit(workers=workers, resume=tmp_path / "step=6.ckpt") == unbroken[6:]


@QUIET
def test_lightning_goes_on_after_a_limit_of_steps(tmp_path, unbroken):
    assert fit(tmp_path, steps=7, every_n_train_steps=7) == unbroken[:7]
    assert fit(resume=tmp_path / "step=7.ckpt") == unbroken[7:]
