"""From sizes and limits to the plan of an epoch."""

import numpy.typing as npt

from anysize.batching.canvases import LAUNCH_PIXELS, CanvasSet, choose_canvases
from anysize.batching.limits import check_integer, check_sizes
from anysize.batching.noise import stream_key
from anysize.batching.plan import Plan
from anysize.batching.planner import Mixing, Planner
from anysize.batching.stream import PlanStream
from anysize.errors import PlanError

__all__ = ["plan_epoch"]


def plan_epoch(
    sizes: npt.ArrayLike,
    batch_size: int,
    *,
    max_pixels: int | None = None,
    mixing: Mixing = "similar",
    max_canvases: int | None = None,
    canvases: CanvasSet | None = None,
    pool: int | None = None,
    seed: int = 0,
    epoch: int = 0,
    num_ranks: int = 1,
    shuffle: bool = True,
    multiple_of: int | None = None,
    jitter: float = 0.02,
    launch_pixels: float | None = None,
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
        max_canvases: K, to lay the images on K static canvases at most, chosen for least padding by
            `choose_canvases` (the few images that waste most, on canvases of their own exact size); None for free
            canvases, each as large as its images need.
        canvases: static canvases chosen before, in the place of ``max_canvases``: choosing takes seconds, and
            static canvases should be the same in every epoch.
        pool: for "similar": how much is shuffled. The images are cut at random into pools of so many, and the
            images of a step are alike within their pool: one of a single step makes every step a uniform draw,
            with the padding of one; None for a pool of all images.
        shuffle: False for evaluation: no randomness, and steps ordered by their largest forward, the largest
            first, so that memory fails at once or never. "mixed" then takes the images in the given order.
        multiple_of: heights and widths of canvases are rounded up to multiples of this; None for 8 with
            ``max_canvases``, for that of ``canvases``, else for 1.
        jitter: for "similar" on free canvases: sizes are taken up to this share larger or smaller when images are
            sorted, anew every epoch, so that neighbours in size change. 0 for none; much more than 0.02 costs
            padding.
        launch_pixels: what one more forward costs beside its pixels, in pixels. A step is split where that saves
            more padded pixels than this; static canvases that are not filled spill into larger ones where that
            costs less. The faster the device computes pixels, the more of them a launch is worth. None for 65,536,
            and for "similar" on free canvases for no split: a step is one forward where ``max_pixels`` allows.

    Returns:
        The plan; free canvases are the largest height and width of the images on them, rounded to
        ``multiple_of``.

    Raises:
        PlanError: an argument is out of its range, or an image's own canvas has more than ``max_pixels``.
    """
    if max_canvases is not None and canvases is not None:
        raise PlanError("max_canvases and canvases are both given", hint="give the one or the other")
    if pool is not None and not shuffle:
        raise PlanError("pool says how much is shuffled, and shuffle is False", hint="leave one of them out")
    checked = check_sizes(sizes)
    if max_canvases is not None:
        canvases = choose_canvases(
            checked,
            max_canvases,
            multiple_of=8 if multiple_of is None else multiple_of,
            launch_pixels=LAUNCH_PIXELS if launch_pixels is None else launch_pixels,
            max_pixels=max_pixels,
        )
    planner = Planner(
        batch_size=batch_size,
        max_pixels=max_pixels,
        mixing=mixing,
        canvases=canvases,
        num_ranks=num_ranks,
        shuffle=shuffle,
        multiple_of=multiple_of,
        jitter=jitter,
        launch_pixels=launch_pixels,
    )
    key = stream_key(check_integer("seed", seed), check_integer("epoch", epoch))
    if pool is None:
        return planner.plan(checked, key)
    return Plan.joined([*PlanStream.planned_by(planner, checked, key, pool).plans()])
