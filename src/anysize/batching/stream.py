"""A plan for any number of images: drawn pool after pool, with no table of the epoch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from anysize.batching.canvases import CanvasSet
from anysize.batching.limits import blocks, check_all, check_at_least_one, check_integer
from anysize.batching.noise import Shuffle, stream_key
from anysize.batching.plan import Plan, Step, check_rank
from anysize.batching.planner import Mixing, Planner
from anysize.batching.segments import Ints
from anysize.errors import PlanError

__all__ = ["PlanStream", "default_pool"]


def default_pool(batch_size: int, *, static: bool = False) -> int:
    """Images in a pool where nobody says: a million, a quarter on static canvases, or 64 steps if those are more.

    On free canvases a deeper pool pads less; on static ones it changes nothing, and a smaller one is planned faster.
    """
    return max(1 << (18 if static else 20), 64 * batch_size)


class PlanStream(Sequence[Step]):
    """The steps of one epoch over any number of images, planned when they are asked for.

    The images are shuffled, without a table of them, and cut into pools; each pool is planned as `plan_epoch`
    plans a data set. Memory and the time to the first step, or to any other, are those of one pool. The pool
    is also how much is shuffled: every image meets images of its own size from a uniform draw of so many.

    Args:
        sizes: (N, 2) integers, the (height, width) of each image in pixels; any array, memory-mapped ones too.
            It is not copied: two bytes a side are enough up to 65,535 pixels.
        batch_size: images per step, over all ranks. All steps have as many, but for the last of the epoch
            (with "similar": one of the last pool's).
        pool: images in a pool, rounded up to whole steps; None for `default_pool`. A pool of one step makes
            every step a uniform draw; one of all images is as sorted as `plan_epoch`.
        canvases: static canvases, as `choose_canvases` gives them; None for free ones.
        max_pixels, mixing, seed, epoch, num_ranks, multiple_of, jitter, launch_pixels: as of `plan_epoch`.

    Raises:
        PlanError: an argument is out of its range, or an image's own canvas has more than ``max_pixels``.
    """

    def __init__(
        self,
        sizes: npt.ArrayLike,
        batch_size: int,
        *,
        pool: int | None = None,
        max_pixels: int | None = None,
        mixing: Mixing = "similar",
        canvases: CanvasSet | None = None,
        seed: int = 0,
        epoch: int = 0,
        num_ranks: int = 1,
        multiple_of: int | None = None,
        jitter: float = 0.02,
        launch_pixels: float | None = None,
    ) -> None:
        planner = Planner(
            batch_size=batch_size,
            max_pixels=max_pixels,
            mixing=mixing,
            canvases=canvases,
            num_ranks=num_ranks,
            shuffle=True,
            multiple_of=multiple_of,
            jitter=jitter,
            launch_pixels=launch_pixels,
        )
        array = check_all(sizes, planner.max_pixels, planner.canvas_multiple)
        self._set(planner, array, stream_key(check_integer("seed", seed), check_integer("epoch", epoch)), pool)

    @classmethod
    def planned_by(cls, planner: Planner, sizes: npt.NDArray[np.integer], key: int, pool: int | None) -> "PlanStream":
        """A stream over sizes that are checked already."""
        stream = object.__new__(cls)
        stream._set(planner, sizes, key, pool)
        return stream

    def _set(self, planner: Planner, sizes: npt.NDArray[np.integer], key: int, pool: int | None) -> None:
        self._planner, self._sizes, self._key = planner, sizes, key
        if pool is None:
            pool = default_pool(planner.batch_size, static=planner.canvases is not None)
        pool = check_at_least_one("pool", pool)
        self._steps_per_pool = -(-min(pool, len(sizes)) // planner.batch_size)
        self._shuffle = Shuffle(stream_key(key, 3), len(sizes))
        self._rank: int | None = None
        self._cached: dict[int, Plan] = {}

    def __len__(self) -> int:
        """Steps of the epoch."""
        return -(-len(self._sizes) // self._planner.batch_size)

    @property
    def num_images(self) -> int:
        """Images of the epoch, on all ranks."""
        return len(self._sizes)

    @property
    def num_ranks(self) -> int:
        """Ranks that the epoch is planned for."""
        return self._planner.num_ranks

    @property
    def num_pools(self) -> int:
        """How many pools the images are cut into."""
        return -(-len(self) // self._steps_per_pool)

    def __repr__(self) -> str:
        return f"<PlanStream: {len(self)} steps, {self.num_images} images, {self.num_pools} pools>"

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Plan: ...
    def __getitem__(self, index: int | slice) -> "Step | Plan":
        if isinstance(index, slice):
            raise PlanError(
                "a stream of steps has no slices: they would be a table of the epoch",
                hint="stream.plans(first_step=k) goes on from step k; stream[k] is one step",
            )
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        pool, step = divmod(number, self._steps_per_pool)
        return self.pool(pool)[step]

    def __iter__(self) -> Iterator[Step]:
        for plan in self.plans():
            yield from plan

    def plans(self, first_step: int = 0) -> Iterator[Plan]:
        """The rest of the epoch from a step on, pool after pool; no earlier pool is planned.

        Raises:
            PlanError: there is no such step.
        """
        if not 0 <= first_step <= len(self):
            raise PlanError(f"first_step is {first_step}; this epoch has the steps 0 to {len(self) - 1}")
        first_pool, step = divmod(first_step, self._steps_per_pool)
        for number in range(first_pool, self.num_pools):
            plan = self.pool(number)[step:]
            if len(plan):
                yield plan
            step = 0

    def pool(self, number: int) -> Plan:
        """The plan of one pool; the last two are kept, since a loader that reads ahead is in the next one already."""
        if number in self._cached:
            return self._cached[number]
        images_per_pool = self._steps_per_pool * self._planner.batch_size
        first = number * images_per_pool
        images = self._shuffle.numbers(first, min(first + images_per_pool, len(self._sizes)))
        sizes = _rows(self._sizes, images).astype(np.int64)
        plan = self._planner.plan(sizes, stream_key(self._key, 4, number), drawn=True).renumbered(images)
        if self._rank is not None:
            plan = plan.for_rank(self._rank)
        self._cached = {**dict(list(self._cached.items())[-1:]), number: plan}
        return plan

    def for_rank(self, rank: int) -> "PlanStream":
        """The steps of one rank: as many as of the whole, of which some may be empty for it.

        Raises:
            PlanError: ``rank`` is not between 0 and ``num_ranks`` - 1.
        """
        check_rank(rank, self.num_ranks)
        part = object.__new__(PlanStream)
        part.__dict__.update(self.__dict__, _rank=rank, _cached={})
        return part

    def digest(self) -> str:
        """SHA-256 of all that the steps depend on: streams with equal digests have equal steps, on any machine.

        One pass over the sizes.
        """
        what = [*self._planner.identity(), self._key, self._steps_per_pool, self._rank]
        content = hashlib.sha256(json.dumps(what).encode())
        for _, block in blocks(self._sizes):
            content.update(np.ascontiguousarray(block, dtype="<i4").tobytes())
        return content.hexdigest()


def _rows(sizes: npt.NDArray[np.integer], images: Ints) -> npt.NDArray[np.integer]:
    """``sizes[images]``, several times faster: height and width are fetched as one number where they lie together."""
    pair = {2: np.uint32, 4: np.uint64}.get(sizes.itemsize)
    if pair is None or not sizes.flags.c_contiguous:
        return sizes[images]
    return sizes.view(pair)[:, 0][images].view(sizes.dtype).reshape(-1, 2)
