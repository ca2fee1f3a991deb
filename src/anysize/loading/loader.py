"""A DataLoader that follows a plan: workers build whole micro-batches, in the plan's order."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from anysize.batching import MicroBatch, Step
from anysize.errors import AnysizeError, TrainingError
from anysize.loading.raw import RawBatch

__all__ = ["PlanLoader", "Samples", "waiting_bytes"]


class Samples(Protocol):
    """What batches are made of: `anysize.data.ImageDataset`, or `anysize.data.patches.PatchDataset`."""

    @property
    def has_labels(self) -> bool:
        """Whether `label` gives a class."""

    @property
    def has_masks(self) -> bool:
        """Whether `load_pair` gives a mask; it is then the target."""

    def label(self, index: int) -> int:
        """The class of a sample."""

    def load(self, index: int, epoch: int) -> NDArray[np.uint8]:
        """The pixels of a sample, uint8 (H, W, C)."""

    def load_pair(self, index: int, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The same, and its mask, uint8 (H, W)."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker is asked for. The epoch travels along, because augmentation depends on it."""

    micro_batch: MicroBatch
    epoch: int


class _Workshop(Dataset["RawBatch | AnysizeError"]):
    """Fills orders, in a worker process. An error is handed over as it is: raised there, it would come wrapped."""

    def __init__(self, dataset: Samples) -> None:
        self.dataset = dataset

    def __getitem__(self, order: Any) -> "RawBatch | AnysizeError":
        try:
            return self._fill(order)
        except AnysizeError as error:
            return error

    def _fill(self, order: _Order) -> RawBatch:
        indices, canvas = order.micro_batch.indices, order.micro_batch.canvas
        if self.dataset.has_masks:
            pairs = [self.dataset.load_pair(index, order.epoch) for index in indices]
            return RawBatch.from_arrays([pair[0] for pair in pairs], canvas, [pair[1] for pair in pairs], indices)
        images = [self.dataset.load(index, order.epoch) for index in indices]
        labels = [self.dataset.label(index) for index in indices] if self.dataset.has_labels else None
        return RawBatch.from_arrays(images, canvas, labels, indices)


class _Orders(Sampler[_Order]):
    """The orders of one rank's part of a plan, from a given step on."""

    def __init__(self) -> None:
        self.plan: Sequence[Step] | None = None
        self.epoch = 0
        self.first_step = 0

    def __iter__(self) -> Iterator[_Order]:
        assert self.plan is not None  # noqa: S101 - set by PlanLoader.steps alone
        for number in range(self.first_step, len(self.plan)):
            for micro_batch in self.plan[number].micro_batches:
                yield _Order(micro_batch, self.epoch)


def _prepare_worker(_: int) -> None:
    # Ctrl-C reaches the whole process group; the main process decides, and finishes its step with the workers alive.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def waiting_bytes(channels: int, workers: int, *, masks: bool = False) -> int:
    """Bytes, a canvas pixel of a micro-batch, that a `PlanLoader` holds beside the one that is being computed."""
    # Each worker has two micro-batches waiting, as bytes; one is being worked on and one laid out.
    return (channels + masks) * (2 * workers + 2)


class PlanLoader:
    """Reads, decodes and lays out the micro-batches of plans over one data set, in parallel.

    Args:
        dataset: where images come from, and their classes or masks where it has any.
        workers: processes, kept from one epoch to the next; 0 works in this process.
        pin_memory: hand batches over in page-locked memory (for a GPU).
    """

    def __init__(self, dataset: Samples, *, workers: int, pin_memory: bool = False) -> None:
        self._orders = _Orders()
        self._loader: DataLoader[RawBatch | AnysizeError] = DataLoader(
            _Workshop(dataset),
            sampler=self._orders,
            batch_size=None,
            num_workers=workers,
            pin_memory=pin_memory and torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=_prepare_worker if workers else None,
            generator=torch.Generator(),  # its own: loading draws nothing from the model's random numbers
        )

    def steps(self, plan: Sequence[Step], *, epoch: int = 0, first_step: int = 0) -> Iterator[Iterator[RawBatch]]:
        """Give, for each step of ``plan`` (one rank's), an iterator over its micro-batches.

        Each step's iterator must be used up before the next step is asked for.

        Raises:
            TrainingError: a step was left before its end.
            DataError: an image cannot be read, or has changed since it was scanned; from the iterators.
        """
        self._orders.plan, self._orders.epoch, self._orders.first_step = plan, epoch, first_step
        batches = iter(self._loader)
        for number in range(first_step, len(plan)):
            left = list(plan[number].micro_batches)
            yield _taken(batches, left)
            if left:
                raise TrainingError(
                    f"step {number} was left before all of its micro-batches were taken",
                    hint="use up each step's iterator before asking for the next step",
                )


def _taken(batches: Iterator[RawBatch | AnysizeError], left: list[MicroBatch]) -> Iterator[RawBatch]:
    """The next batch for each that is ``left``, which becomes shorter."""
    while left:
        left.pop()
        yield _unwrapped(next(batches))


def _unwrapped(filled: RawBatch | AnysizeError) -> RawBatch:
    if isinstance(filled, AnysizeError):
        raise filled
    return filled
