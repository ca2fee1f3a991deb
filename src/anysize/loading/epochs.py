"""The plans of all epochs of a run: canvases are chosen once, and each epoch is planned with its own sizes."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anysize.batching import CanvasSet, Plan, PlanStream, SizeHistogram, choose_canvases, default_pool, plan_epoch
from anysize.options import BatchOptions
from anysize.sizes.start_size import StartSize

__all__ = ["EpochPlanner"]

# Augmentation draws new sizes every epoch. Canvases are chosen for those of so many epochs together; an image
# that fits on none of them in a later one lies on a canvas of its own.
_EPOCHS_SEEN = 4

_LEAST_STEPS = 4  # of an epoch with smaller images


class EpochPlanner:
    """Plans each epoch of a run as its options say.

    Args:
        sizes_of: gives the (N, 2) sizes of all images in an epoch, from 0; a pure function.
        options: batch size, limits, mixing and canvases.
        seed: of the run.
        start: of images that are smaller in the first epochs: a step then has as many more as have the pixels of a
            step at full size.

    Raises:
        PlanError: an option that the sizes do not allow; from `plan` too.
    """

    def __init__(
        self,
        sizes_of: Callable[[int], NDArray[np.int64]],
        options: BatchOptions,
        *,
        seed: int,
        start: StartSize | None = None,
    ) -> None:
        self._sizes_of = sizes_of
        self._options = options
        self._seed = seed
        self._start = start
        self.canvases: CanvasSet | None = None
        """The static canvases, or None where canvases are free."""
        if options.max_canvases is not None:
            seen = [SizeHistogram.of(sizes_of(epoch), options.multiple_of) for epoch in self._epochs_seen()]
            self.canvases = choose_canvases(
                SizeHistogram.joined(seen),
                options.max_canvases,
                own_share=options.own_share,
                launch_pixels=options.launch_pixels,
                max_pixels=options.pixel_limit,
            )

    def batch_size(self, epoch: int) -> int:
        """Images a step: as many as were asked for, and more while they are smaller, for the same pixels.

        A quarter of the images at most, so that an epoch has four updates where it would have them at full size.
        """
        is_at_full_size = self._start is None or epoch >= self._start.epochs
        return self._options.batch_size if is_at_full_size else self._first_batch_size

    @cached_property
    def _first_batch_size(self) -> int:
        asked = self._options.batch_size
        return max(min(round(asked * self.pixel_ratio), len(self._sizes_of(0)) // _LEAST_STEPS), asked)

    @cached_property
    def pixel_ratio(self) -> float:
        """Pixels of an image at full size for one of an image at the start; the same in each process of a run."""
        if self._start is None:
            return 1.0
        small, full = (float(self._sizes_of(epoch).prod(axis=1).mean()) for epoch in (0, self._start.epochs))
        return max(full / small, 1.0)

    def _epochs_seen(self) -> list[int]:
        first = list(range(_EPOCHS_SEEN))
        if self._start is None:
            return first
        return [*first[: self._start.epochs], *(self._start.epochs + epoch for epoch in first)]

    def plan(self, epoch: int) -> Plan | PlanStream:
        """The plan of one epoch; that of millions of images is a stream, which takes the memory of one pool."""
        options, sizes = self._options, self._sizes_of(epoch)
        batch_size = self.batch_size(epoch)
        make = PlanStream if len(sizes) > default_pool(batch_size) else plan_epoch
        return make(
            sizes,
            batch_size,
            max_pixels=options.pixel_limit,
            mixing=options.mixing,
            launch_pixels=options.launch_pixels,
            multiple_of=options.multiple_of if self.canvases is None else None,
            canvases=self.canvases,
            pool=options.pool,
            seed=self._seed,
            epoch=epoch,
        )
