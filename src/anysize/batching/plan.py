"""A plan: which images go together, on which canvas, in which order, for one epoch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from anysize.batching.limits import check_integer
from anysize.batching.segments import Ints
from anysize.errors import PlanError

__all__ = ["MicroBatch", "Plan", "Step", "check_rank"]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The images of one forward.

    Attributes:
        indices: numbers of the images, by true area from the largest to the smallest; equal extents are
            neighbours.
        canvas: (height, width) in pixels of the canvas that they share.
        rank: the process that computes it.
    """

    indices: tuple[int, ...]
    canvas: tuple[int, int]
    rank: int = 0

    @property
    def canvas_pixels(self) -> int:
        """Canvas area times the number of images: what ``max_pixels`` limits."""
        return self.canvas[0] * self.canvas[1] * len(self.indices)


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser update: the gradients of its micro-batches, on all ranks, are added up.

    Attributes:
        micro_batches: by rank, and for each rank the one with the most canvas pixels first; maybe none at all
            in the plan of one rank.
    """

    micro_batches: tuple[MicroBatch, ...]

    @property
    def num_images(self) -> int:
        """Images in all its micro-batches."""
        return sum(len(micro_batch.indices) for micro_batch in self.micro_batches)

    def for_rank(self, rank: int) -> "Step":
        """The micro-batches of one rank, as a step."""
        return Step(tuple(micro_batch for micro_batch in self.micro_batches if micro_batch.rank == rank))


class Plan(Sequence[Step]):
    """The steps of one epoch, kept as arrays: a step is built when it is asked for.

    A million images are no burden, and ``plan[k:]``, the rest of an epoch that was interrupted before step k,
    copies no image numbers. Plans with the same content are equal. Made by `plan_epoch`.

    Args:
        images: (N,) image numbers, micro-batch after micro-batch.
        bounds: (m, 2) where in ``images`` each micro-batch begins and ends.
        canvases: (m, 2) height and width of each.
        ranks: (m,) rank of each.
        steps: (s, 2) the first of each step's micro-batches, and the one after the last.
        num_ranks: ranks that the plan was made for.
    """

    __slots__ = ("_bounds", "_canvases", "_images", "_num_ranks", "_ranks", "_steps")

    def __init__(self, images: Ints, bounds: Ints, canvases: Ints, ranks: Ints, steps: Ints, num_ranks: int) -> None:
        self._images = images
        self._bounds = bounds
        self._canvases = canvases
        self._ranks = ranks
        self._steps = steps
        self._num_ranks = num_ranks

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> "Plan": ...
    def __getitem__(self, index: int | slice) -> "Step | Plan":
        if isinstance(index, slice):
            return self._with(self._bounds, self._canvases, self._ranks, self._steps[index])
        first, last = self._steps[index].tolist()
        return Step(tuple(self._build(number) for number in range(first, last)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (
            self._num_ranks == other._num_ranks
            and len(self) == len(other)
            and all(mine == theirs for mine, theirs in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content, and too large to hash by it

    def __repr__(self) -> str:
        return (
            f"<Plan: {len(self)} steps, {self.num_images} images, {self.num_canvases} canvases, "
            f"{self._num_ranks} ranks>"
        )

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, built at once; ``plan[k]`` builds one."""
        return tuple(self)

    def digest(self) -> str:
        """SHA-256 of everything that the plan says: equal plans have equal digests, in every process."""
        content = hashlib.sha256(self._num_ranks.to_bytes(8, "little"))
        for part in (
            self.indices(),
            self.lengths(),
            self.canvases(),
            self._ranks[self._chosen()],
            np.diff(self._steps),
        ):
            content.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
        return content.hexdigest()

    @property
    def num_ranks(self) -> int:
        """Ranks that the plan was made for, also in a plan of one of them."""
        return self._num_ranks

    @property
    def num_images(self) -> int:
        """Images in all steps."""
        return int(self.lengths().sum())

    @property
    def num_canvases(self) -> int:
        """Distinct canvases (height, width)."""
        return len(np.unique(self.canvases(), axis=0))

    def for_rank(self, rank: int) -> "Plan":
        """The plan of one rank: as many steps as the whole, of which some may be empty for it.

        Raises:
            PlanError: ``rank`` is not between 0 and ``num_ranks`` - 1.
        """
        check_rank(rank, self._num_ranks)
        own = self._ranks == rank
        kept = np.concatenate([[0], np.cumsum(own)])  # own micro-batches before each one of all
        return self._with(self._bounds[own], self._canvases[own], self._ranks[own], kept[self._steps])

    def renumbered(self, numbers: Ints) -> "Plan":
        """The same plan with image i called ``numbers[i]``: for a plan of a part of the images."""
        return Plan(numbers[self._images], self._bounds, self._canvases, self._ranks, self._steps, self._num_ranks)

    @classmethod
    def joined(cls, plans: Sequence["Plan"]) -> "Plan":
        """The steps of several plans, one after another.

        Raises:
            PlanError: there is no plan, or they are for different numbers of ranks.
        """
        ranks = sorted({plan.num_ranks for plan in plans})
        if len(ranks) != 1:
            raise PlanError(f"plans for {ranks} ranks cannot be joined; they must be for the same number")
        images = np.cumsum([0, *(len(plan._images) for plan in plans)])
        batches = np.cumsum([0, *(len(plan._bounds) for plan in plans)])
        return cls(
            np.concatenate([plan._images for plan in plans]),
            np.concatenate([plan._bounds + first for plan, first in zip(plans, images, strict=False)]),
            np.concatenate([plan._canvases for plan in plans]),
            np.concatenate([plan._ranks for plan in plans]),
            np.concatenate([plan._steps + first for plan, first in zip(plans, batches, strict=False)]),
            ranks[0],
        )

    def canvases(self) -> Ints:
        """(m, 2) height and width of the canvas of every micro-batch, in the order of the steps."""
        return self._canvases[self._chosen()]

    def lengths(self) -> Ints:
        """(m,) images in every micro-batch, in the order of the steps."""
        first, last = self._bounds[self._chosen()].T
        return np.asarray(last - first)

    def indices(self) -> Ints:
        """(n,) image numbers of all micro-batches one after another, in the order of the steps."""
        return self._images[_ranges(self._bounds[self._chosen()])]

    def step_of_images(self) -> Ints:
        """(n,) the number of the step of each of `indices`, in their order."""
        first, last = self._steps.T
        return np.repeat(np.repeat(np.arange(len(self)), last - first), self.lengths())

    def micro_batch(self, number: int) -> MicroBatch:
        """One of all micro-batches, numbered from 0 through the steps."""
        return self._build(int(self._chosen()[number]))

    def _build(self, number: int) -> MicroBatch:
        first, last = self._bounds[number].tolist()
        height, width = self._canvases[number].tolist()
        return MicroBatch(tuple(self._images[first:last].tolist()), (height, width), int(self._ranks[number]))

    def _chosen(self) -> Ints:
        return _ranges(self._steps)

    def _with(self, bounds: Ints, canvases: Ints, ranks: Ints, steps: Ints) -> "Plan":
        return Plan(self._images, bounds, canvases, ranks, steps, self._num_ranks)


def check_rank(rank: int, num_ranks: int) -> None:
    """Raise `PlanError` unless ``rank`` is one of ``num_ranks``."""
    if not 0 <= check_integer("rank", rank) < num_ranks:
        raise PlanError(f"rank is {rank}; this plan is for ranks 0 to {num_ranks - 1}")


def _ranges(bounds: Ints) -> npt.NDArray[np.int64]:
    """The numbers of all ranges, one after another: [[2, 4], [7, 8]] gives [2, 3, 7]."""
    first, last = bounds.T
    lengths = last - first
    return np.repeat(first - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
