"""How a plan is made: the steps, what each rank computes of them, and their order."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from anysize.batching.canvases import LAUNCH_PIXELS, CanvasSet
from anysize.batching.forwards import Forwards, divide_steps
from anysize.batching.grouping import mixed_steps, similar_steps, step_offsets
from anysize.batching.limits import MAX_PIXELS, check_at_least_one, check_fits, check_multiple, check_number, round_up
from anysize.batching.noise import permutation, stream_key, words
from anysize.batching.plan import Plan
from anysize.batching.segments import Ints
from anysize.batching.sorting import stable_order
from anysize.batching.static import divide_static_steps, place_images, static_steps
from anysize.errors import PlanError

__all__ = ["Mixing", "Planner"]

Mixing = Literal["similar", "mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Everything that a plan depends on but the sizes and the random numbers; as the arguments of `plan_epoch`.

    Raises:
        PlanError: one is out of its range.
    """

    batch_size: int
    max_pixels: int | None
    mixing: Mixing
    canvases: CanvasSet | None
    num_ranks: int
    shuffle: bool
    multiple_of: int | None
    jitter: float
    launch_pixels: float | None

    def __post_init__(self) -> None:
        if self.multiple_of is not None:
            object.__setattr__(self, "multiple_of", check_multiple(self.multiple_of))
        for name in ("batch_size", "num_ranks"):
            object.__setattr__(self, name, check_at_least_one(name, getattr(self, name)))
        if self.max_pixels is not None:
            limit = min(check_at_least_one("max_pixels", self.max_pixels), MAX_PIXELS)
            object.__setattr__(self, "max_pixels", limit)
        if self.mixing not in get_args(Mixing):
            raise PlanError(f"mixing is {self.mixing!r}; 'similar' or 'mixed' is needed")
        object.__setattr__(self, "jitter", check_number("jitter", self.jitter, below=1))
        if self.launch_pixels is not None:
            object.__setattr__(self, "launch_pixels", check_number("launch_pixels", self.launch_pixels))
        if self.canvases is not None:
            self._check_canvases(self.canvases)

    def _check_canvases(self, canvases: CanvasSet) -> None:
        if not isinstance(canvases, CanvasSet):
            raise PlanError(
                f"canvases are of type {type(canvases).__name__}; a CanvasSet is needed",
                hint="choose_canvases(sizes, K) makes one, and so does CanvasSet(((height, width), ...))",
            )
        if self.multiple_of not in (None, canvases.multiple_of):
            raise PlanError(
                f"multiple_of is {self.multiple_of}, and that of the canvases {canvases.multiple_of}",
                hint="leave multiple_of out: the canvases have their own",
            )
        height, width = canvases.canvases[-1] if len(canvases) else (0, 0)
        if self.max_pixels is not None and height * width > self.max_pixels:
            raise PlanError(
                f"a static canvas is {height}x{width} (height x width), {height * width} pixels, more than "
                f"max_pixels={self.max_pixels}",
                hint=f"max_pixels={height * width}, or choose_canvases(..., max_pixels={self.max_pixels})",
            )

    def identity(self) -> list[object]:
        """Everything that plans depend on, as plain values that are written alike by every version of Python."""
        static = None
        if self.canvases is not None:
            static = [self.canvases.canvases, self.canvases.own_above]
        limits = [self.batch_size, self.max_pixels, self.num_ranks, self.canvas_multiple]
        return [*limits, self.mixing, self.shuffle, self.jitter, self.launch_pixels, static]

    @property
    def canvas_multiple(self) -> int:
        """What heights and widths of canvases are multiples of."""
        if self.canvases is not None:
            return self.canvases.multiple_of
        return 1 if self.multiple_of is None else self.multiple_of

    @property
    def _launch_pixels(self) -> float:
        return LAUNCH_PIXELS if self.launch_pixels is None else self.launch_pixels

    def plan(self, sizes: Ints, key: int, *, drawn: bool = False) -> Plan:
        """Plan these images.

        Args:
            sizes: (N, 2) true height and width, checked.
            key: of all random choices.
            drawn: the images come in random order already; it is kept where the order is all that is random.

        Raises:
            PlanError: an image's own canvas has more than ``max_pixels``.
        """
        multiple_of = self.canvas_multiple
        if self.max_pixels is not None:
            check_fits(sizes, self.max_pixels, multiple_of)
        grouping_key = stream_key(key, 0) if self.shuffle else None
        if self.canvases is None:
            forwards = self._on_free_canvases(sizes, round_up(sizes, multiple_of), grouping_key)
        else:
            forwards = self._on_static_canvases(sizes, self.canvases, None if drawn else grouping_key)
        num_steps = -(-len(sizes) // self.batch_size)
        ranks = self._turn_ranks(forwards, num_steps, stream_key(key, 1))
        order_key = stream_key(key, 2) if self.shuffle and self.mixing == "similar" else None
        return _assemble(forwards, ranks, self.num_ranks, order_key, by_size=not self.shuffle)

    def _on_free_canvases(self, sizes: Ints, canvas_sizes: Ints, key: int | None) -> Forwards:
        if self.mixing == "similar":
            images, lengths = similar_steps(sizes, canvas_sizes, self.batch_size, self.jitter, key)
        else:
            images, lengths = mixed_steps(len(sizes), self.batch_size, key)
        return divide_steps(
            images,
            lengths,
            sizes,
            canvas_sizes,
            num_ranks=self.num_ranks,
            max_pixels=self.max_pixels,
            launch_pixels=np.inf if self.mixing == "similar" and self.launch_pixels is None else self._launch_pixels,
        )

    def _on_static_canvases(self, sizes: Ints, canvases: CanvasSet, key: int | None) -> Forwards:
        places = place_images(sizes, canvases)
        if self.mixing == "similar":
            images = static_steps(places, self.batch_size, self._launch_pixels, key)
            lengths = np.diff(step_offsets(len(sizes), self.batch_size))
        else:
            images, lengths = mixed_steps(len(sizes), self.batch_size, key)
        return divide_static_steps(
            images,
            lengths,
            places,
            sizes,
            num_ranks=self.num_ranks,
            max_pixels=self.max_pixels,
            launch_pixels=self._launch_pixels,
        )

    def _turn_ranks(self, forwards: Forwards, num_steps: int, key: int) -> Ints:
        """Deal the parts of each step to the ranks in turn, from another rank in every step.

        The first part is always that of the smallest images (on free canvases), or the fullest. Without the
        turn, one rank's batch-norm statistics, and with them the weights that it saves, would know such images
        only.
        """
        if self.shuffle:
            turns = (words(key, num_steps) % np.uint64(self.num_ranks)).astype(np.int64)
        else:
            turns = np.arange(num_steps, dtype=np.int64)
        return np.asarray((forwards.ranks + turns[forwards.steps]) % self.num_ranks)


def _assemble(forwards: Forwards, ranks: Ints, num_ranks: int, order_key: int | None, *, by_size: bool) -> Plan:
    """Put micro-batches and steps in their order."""
    ends = np.cumsum(forwards.lengths)
    starts = ends - forwards.lengths
    canvases = forwards.canvases
    pixels = canvases[:, 0].astype(np.float64) * canvases[:, 1] * forwards.lengths

    step_starts = np.flatnonzero(np.diff(forwards.steps, prepend=-1))
    num_steps = len(step_starts)
    if by_size:
        step_order = np.argsort(-np.maximum.reduceat(pixels, step_starts), kind="stable")
    elif order_key is not None:
        step_order = permutation(order_key, num_steps)
    else:
        step_order = np.arange(num_steps)
    # Micro-batches by rank inside their step, and the largest first: its memory then serves the others.
    bits = pixels.view(np.int64)  # floats of one sign are ordered as their bits are
    order = stable_order(forwards.steps, ranks, bits.max() - bits, forwards.images[starts])
    step_ends = np.append(step_starts[1:], len(starts))
    return Plan(
        forwards.images,
        bounds=np.stack([starts, ends], axis=1)[order],
        canvases=canvases[order],
        ranks=ranks[order],
        steps=np.stack([step_starts, step_ends], axis=1)[step_order],
        num_ranks=num_ranks,
    )
