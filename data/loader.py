"""Batches in an order that is a pure function of (seed, epoch), resumable in the middle of an epoch.

The sampler hands out (epoch, index) keys: workers live on between epochs, and so they know the epoch of an
image. A resumed run needs to remember no more than the epoch and the number of batches done.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from multiprocessing.queues import Queue
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from data.records import InputError
from data.streams import Stream, check_seed, generator

__all__ = ["EpochLoader", "EpochSampler", "KeyedDataset", "epoch_loader"]

ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)
BatchT = TypeVar("BatchT")


class KeyedDataset(Sized, Dataset[ItemT_co]):
    """What a loader reads: a map-style data set that takes (epoch, index) keys."""

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Sequence[ItemT_co | InputError]:
        """The items of a batch, or the error of the first that cannot be read.

        Out of an error that is raised in a worker process torch makes a RuntimeError with the worker's
        traceback. As a value it reaches :class:`EpochLoader`, which raises it in the main process.
        """
        try:
            return [self[key] for key in keys]
        except InputError as error:
            return [error]


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) keys of one process, in an order that depends on (seed, epoch) alone.

    Each process gets every `world_size`-th image of the common order. `drop_last` leaves out the last
    ``count % world_size`` images of the order, so that every process gets as many; otherwise some get one
    more: every image occurs exactly once.

    Attributes
    ----------
    epoch
        Set it by :meth:`set_epoch`.
    skip
        Leave out this number of the process's images at the beginning of the next epoch to be iterated.

    Raises
    ------
    InputError
        A negative seed, a rank that is not among the processes, fewer images than processes.

    Examples
    --------
    >>> list(EpochSampler(5, rank=1, world_size=2))
    [(0, 1), (0, 3)]
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        check_seed(seed)
        if not 0 <= rank < world_size:
            raise InputError("rank", str(rank), f"a number from 0 to {world_size - 1}: one for each process")
        if count < world_size:
            raise InputError("images", f"{count} for {world_size} processes", "at least one for each process")
        self.count, self.seed, self.shuffle, self.world_size = count, seed, shuffle, world_size
        self._part = slice(rank, count - count % world_size if drop_last else count, world_size)
        self.epoch = self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is. Lightning calls this."""
        self.epoch = epoch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Indices of this process's images in an epoch."""
        order = np.arange(self.count)
        if self.shuffle:
            generator(self.seed, Stream.ORDER_OF_IMAGES, epoch).shuffle(order)
        return order[self._part]

    def __len__(self) -> int:
        """Number of images of this process in a whole epoch."""
        return len(range(self.count)[self._part])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, skip, self.skip = self.epoch, self.skip, 0
        for index in self.order(epoch)[skip:].tolist():
            yield epoch, index


class EpochLoader(DataLoader[BatchT]):
    """A DataLoader that can be resumed in the middle of an epoch; made by :func:`epoch_loader`.

    Lightning stores :meth:`state_dict` in its checkpoints and hands it back before the first batch. The
    constructor is that of :class:`torch.utils.data.DataLoader`, so that Lightning can also make a copy.

    An epoch begins at its first batch, not when ``iter`` is called: Lightning calls ``iter`` first and
    ``set_epoch`` second. The length is always that of a whole epoch.

    Raises
    ------
    InputError
        While iterating: an image that cannot be read, also where a worker process met it.
    """

    _epoch = 0  # of the latest batch handed out
    _batches = 0  # handed out in that epoch
    _resume: dict[str, int] | None = None

    @property
    def _sampler(self) -> EpochSampler:
        return cast(EpochSampler, self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is. Lightning calls the sampler's method of this name itself."""
        self._sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[BatchT]:  # type: ignore[override]
        state, self._resume = self._resume, None
        self._epoch, self._batches = self._sampler.epoch, 0
        if state and state["epoch"] == self._epoch:
            saved, here = (
                ", ".join(f"{name} {form[name]}" for name in self._form) for form in (state, self._form)
            )
            if saved != here:
                raise InputError(
                    "checkpoint",
                    f"a run that stopped in the middle of an epoch with {saved}",
                    f"the same settings to go on, not {here}; or resume from the end of an epoch",
                )
            self._batches = state["batches"]
        self._sampler.skip = self._batches * self._form["batch size"]
        for batch in super().__iter__():
            if isinstance(batch, InputError):
                self._iterator = None  # ends the workers; the garbage collector would take seconds for it
                raise batch
            self._batches += 1  # before it is handed out: a checkpoint made during the step counts it as done
            yield cast(BatchT, batch)

    @property
    def _form(self) -> dict[str, int]:
        """What the place of a batch in an epoch depends on."""
        sampler, batch_size = self._sampler, cast(int, self.batch_size)
        return {"images": sampler.count, "batch size": batch_size, "processes": sampler.world_size}

    def state_dict(self) -> dict[str, int]:
        """Epoch, how many of its batches have been handed out, and of how many images they are."""
        return {"epoch": self._epoch, "batches": self._batches, **self._form}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the batches that `state` counts when its epoch is iterated next.

        If the images, the batch size or the processes are not as many as then, that raises an InputError:
        there is no such place in this loader's order.
        """
        self._resume = dict(state)
        self.set_epoch(state["epoch"])


def _collate_or_error(collate: Callable[[Any], Any], items: list[Any]) -> Any:
    return items[0] if isinstance(items[0], InputError) else collate(items)


def _end_worker(error: BaseException, batch: object) -> None:
    """End a process whose batch cannot be sent: the main one notices that, but waits for a batch for ever."""
    os._exit(1)


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # Called by the thread that sends batches, where shared memory is full or too many files are open.
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]
    # 0, not 1, which would make OpenCV wait for the end of threads that did not survive the fork: for ever.
    cv2.setNumThreads(0)
    # What is sent to all processes, Ctrl-C or a cluster's SIGTERM, is for the main one to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    # multiprocessing ends a worker by SIGTERM; Lightning's handler prints
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def epoch_loader(
    dataset: KeyedDataset[ItemT],
    collate: Callable[[list[ItemT]], BatchT],
    batch_size: int,
    *,
    train: bool,
    seed: int = 0,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> EpochLoader[BatchT]:
    """A loader over a data set.

    Parameters
    ----------
    dataset, collate
        The items, and what makes a batch of some.
    batch_size
        Images in a batch of this process.
    train
        True: a new order every epoch, and as many batches for each process, all of them whole (except that
        fewer images than `batch_size` make one batch). False: every image once, in order.
    seed
        Of the order.
    workers
        Processes that read, with one thread each; 0: this one does. They live on between epochs.
    rank, world_size
        This process, and how many there are. Tell Lightning ``use_distributed_sampler=False``.
    pin_memory
        For faster copies to a GPU.

    Raises
    ------
    InputError
        Batch size below 1, a negative number of workers or seed, fewer images than processes.
    """
    if batch_size < 1:
        raise InputError("batch size", str(batch_size), "a number from 1")
    if workers < 0:
        raise InputError("workers", str(workers), "a number from 0")
    sampler = EpochSampler(
        len(dataset), seed=seed, shuffle=train, rank=rank, world_size=world_size, drop_last=train
    )
    return EpochLoader(
        cast(Any, dataset),
        batch_size=batch_size,
        sampler=cast(Any, sampler),
        drop_last=train and len(sampler) >= batch_size,
        num_workers=workers,
        collate_fn=partial(_collate_or_error, collate),
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(seed),  # iterating must not advance the global one
        persistent_workers=workers > 0,
    )
