"""From sizes and limits to the plan of an epoch."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from anysize.batching.forwards import Forwards, divide_steps
from anysize.batching.grouping import mixed_steps, similar_steps
from anysize.batching.limits import check_at_least_one, check_fits, check_integer, check_sizes, round_up
from anysize.batching.noise import permutation, stream_key, words
from anysize.batching.plan import Plan
from anysize.batching.segments import Ints
from anysize.errors import PlanError

__all__ = ["plan_epoch"]


def plan_epoch(
    sizes: npt.ArrayLike,
    batch_size: int,
    *,
    max_pixels: int | None = None,
    mixing: Literal["similar", "mixed"] = "similar",
    seed: int = 0,
    epoch: int = 0,
    num_ranks: int = 1,
    shuffle: bool = True,
    multiple_of: int = 1,
    jitter: float = 0.02,
    launch_pixels: int = 65_536,
) -> Plan:
    """Plan one epoch: every image exactly once, no micro-batch over its limit. No pixel is read.

    The result depends on the arguments alone: it is the same in every process, on every machine.

    Args:
        sizes: (N, 2) integers, the (height, width) of each image in pixels.
        batch_size: images per step, over all ranks. One step has fewer if ``batch_size`` does not divide N:
            the last one if ``mixing`` is "mixed", any one if it is "similar".
        max_pixels: canvas pixels (canvas area times images) that one forward on one rank may hold. A step
            with more is split into micro-batches, and stays one step.
        mixing: "similar": the images of a step are alike in height and width, for least padding. "mixed": a
            step is a uniform draw, as in textbook SGD, then split by size into micro-batches.
        seed: of all random choices.
        epoch: number of the epoch; each has random choices of its own.
        num_ranks: processes that share each step, each with about the same canvas pixels of it. Every image
            of a step that has fewer images than there are ranks goes to a rank of its own.
        shuffle: False for evaluation: no randomness, and steps ordered by their largest forward, the largest
            first, so that memory fails at once or never. "mixed" then takes the images in the given order.
        multiple_of: heights and widths of canvases are rounded up to multiples of this.
        jitter: for "similar": sizes are taken up to this share larger or smaller when images are sorted, anew
            every epoch, so that neighbours in size change. 0 for none; much more than 0.02 costs padding.
        launch_pixels: for "mixed": what one more forward costs beside its pixels, in pixels. A step is split
            where that saves more padded pixels than this. The faster the device computes pixels, the more of
            them a launch is worth.

    Returns:
        The plan; its canvases are the largest height and width of the images on them, rounded to
        ``multiple_of``.

    Raises:
        PlanError: an argument is out of its range, or an image's own canvas has more than ``max_pixels``.
    """
    batch_size = check_at_least_one("batch_size", batch_size)
    num_ranks = check_at_least_one("num_ranks", num_ranks)
    multiple_of = check_at_least_one("multiple_of", multiple_of)
    if mixing not in ("similar", "mixed"):
        raise PlanError(f"mixing is {mixing!r}; 'similar' or 'mixed' is needed")
    if not 0 <= jitter < 1:
        raise PlanError(f"jitter is {jitter}; a share of at least 0 and less than 1 is needed")
    if not launch_pixels >= 0:
        raise PlanError(f"launch_pixels is {launch_pixels}; a number of at least 0 is needed")
    true_sizes = check_sizes(sizes)
    if max_pixels is not None:
        max_pixels = check_at_least_one("max_pixels", max_pixels)
        check_fits(true_sizes, max_pixels, multiple_of)
    canvas_sizes = round_up(true_sizes, multiple_of)

    key = stream_key(check_integer("seed", seed), check_integer("epoch", epoch))
    grouping_key = stream_key(key, 0) if shuffle else None
    if mixing == "similar":
        images, lengths = similar_steps(true_sizes, canvas_sizes, batch_size, jitter, grouping_key)
    else:
        images, lengths = mixed_steps(len(true_sizes), batch_size, grouping_key)
    forwards = divide_steps(
        images,
        lengths,
        canvas_sizes,
        num_ranks=num_ranks,
        max_pixels=max_pixels,
        launch_pixels=launch_pixels if mixing == "mixed" else np.inf,
    )
    ranks = _turn_ranks(forwards, len(lengths), num_ranks, stream_key(key, 1) if shuffle else None)
    order_key = stream_key(key, 2) if shuffle and mixing == "similar" else None
    return _assemble(forwards, ranks, true_sizes, canvas_sizes, num_ranks, order_key, by_size=not shuffle)


def _turn_ranks(forwards: Forwards, num_steps: int, num_ranks: int, key: int | None) -> Ints:
    """Deal the parts of each step to the ranks in turn, from another rank in every step.

    The first part is always that of the smallest images. Without the turn, one rank's batch-norm statistics,
    and with them the weights that it saves, would know small images only.
    """
    if key is None:
        turns = np.arange(num_steps, dtype=np.int64)
    else:
        turns = (words(key, num_steps) % np.uint64(num_ranks)).astype(np.int64)
    return np.asarray((forwards.ranks + turns[forwards.steps]) % num_ranks)


def _assemble(
    forwards: Forwards,
    ranks: Ints,
    true_sizes: Ints,
    canvas_sizes: Ints,
    num_ranks: int,
    order_key: int | None,
    *,
    by_size: bool,
) -> Plan:
    """Put images, micro-batches and steps in their order."""
    number = np.repeat(np.arange(len(forwards.lengths)), forwards.lengths)
    heights, widths = true_sizes[forwards.images].T
    # Largest area first; equal areas by height, so that equal extents are neighbours; then by image number.
    images = forwards.images[np.lexsort((forwards.images, -heights, -heights * widths, number))]
    ends = np.cumsum(forwards.lengths)
    starts = ends - forwards.lengths
    canvases = np.maximum.reduceat(canvas_sizes[images], starts, axis=0)
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
    order = np.lexsort((images[starts], -pixels, ranks, forwards.steps))
    step_ends = np.append(step_starts[1:], len(starts))
    return Plan(
        images,
        bounds=np.stack([starts, ends], axis=1)[order],
        canvases=canvases[order],
        ranks=ranks[order],
        steps=np.stack([step_starts, step_ends], axis=1)[step_order],
        num_ranks=num_ranks,
    )
