"""What each number of canvases costs: padding and launches of real plans, and the canvases that are new in them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anysize.batching import CanvasSet, Plan, SizeHistogram, canvas_choices, choose_canvases, measure_waste, plan_epoch
from anysize.planning.config import PlanConfig
from anysize.timing import StepCost

__all__ = ["NUMBERS", "SAMPLE", "CanvasChoice", "chosen_canvases", "compare_choices", "make_plan", "mark_fastest"]

Sizes = NDArray[np.int64]

NUMBERS = (1, 2, 4, 8, 16, 32)
"""Of canvases, that are compared."""

SAMPLE = 1 << 15
"""Images that choices are compared on: a uniform draw of so many tells the padding of any number of them."""


@dataclass(frozen=True, kw_only=True)
class CanvasChoice:
    """One row of the table: at most K static canvases, or free ones."""

    max_canvases: int | None
    """K; None for free canvases, each as large as its images need."""
    num_canvases: int
    """Static canvases used, without those of single images; of free ones, the different ones in an epoch."""
    padding_share: float
    """Of the canvas pixels of an epoch."""
    own_share: float
    """Share of the images that lie on canvases of their own exact size."""
    canvas_pixels: float
    """Of an epoch, padding included."""
    num_forwards: float
    """Forward passes (one canvas each) of an epoch."""
    forwards_per_step: float
    new_canvases_first_epoch: float
    """Different (images, height, width) that are met; a device compiles or chooses kernels for each."""
    new_canvases_later_epoch: float
    """The same of a later epoch, on average over all of them."""
    first_epoch_seconds: float | None = None
    """Predicted; None where nothing was measured."""
    later_epoch_seconds: float | None = None
    """Predicted for a later epoch, on average."""
    total_seconds: float | None = None
    """Predicted for all epochs."""
    is_chosen: bool = False
    """By the options."""
    is_fastest: bool = False
    """Of the table, over all epochs."""


def make_plan(sizes: Sizes, config: PlanConfig, max_pixels: int, canvases: CanvasSet | None, *, epoch: int = 0) -> Plan:
    """Plan as training does."""
    return plan_epoch(
        sizes,
        config.batch_size,
        max_pixels=max_pixels,
        mixing=config.mixing,
        canvases=canvases,
        pool=config.pool,
        launch_pixels=config.launch_pixels,
        multiple_of=config.multiple_of if canvases is None else None,
        seed=config.seed,
        epoch=epoch,
    )


def chosen_canvases(histogram: SizeHistogram, config: PlanConfig, max_pixels: int) -> CanvasSet | None:
    """The canvases that the options ask for; None for free ones."""
    if config.max_canvases is None:
        return None
    return choose_canvases(
        histogram,
        config.max_canvases,
        own_share=config.own_share,
        launch_pixels=config.launch_pixels,
        max_pixels=max_pixels,
    )


def compare_choices(
    sizes_of: Callable[[int], Sizes],
    histogram: SizeHistogram,
    chosen: CanvasSet | None,
    config: PlanConfig,
    max_pixels: int,
    plan: Plan,
) -> list[CanvasChoice]:
    """Plan two epochs with each number of canvases, and count; of many images, a uniform draw of `SAMPLE`.

    Args:
        sizes_of: an epoch's (N, 2) sizes.
        histogram: of the sizes of the first epoch.
        chosen: `chosen_canvases`.
        config: the options of the plan.
        max_pixels: canvas pixels that one forward may hold.
        plan: of all images, as the options ask for it: its row tells of all of them.

    Returns:
        By number of canvases, free ones last; times are missing still.
    """
    sets: dict[int | None, CanvasSet | None] = {}
    found = canvas_choices(
        histogram,
        NUMBERS[-1],
        own_share=config.own_share,
        launch_pixels=config.launch_pixels,
        max_pixels=max_pixels,
    )
    for number in NUMBERS:
        if number <= len(found):  # further canvases would save nothing
            sets[number] = found[number - 1]
    if config.max_canvases is not None and chosen is not None:
        sets[config.max_canvases] = chosen
    ordered = dict(sorted(sets.items(), key=lambda item: item[0] or 0))
    ordered[None] = None
    first, second = sizes_of(0), sizes_of(1)
    rows = [_count(number, canvases, first, second, config, max_pixels) for number, canvases in ordered.items()]
    return [_of_all(row, plan, first) if row.max_canvases == config.max_canvases else row for row in rows]


def _of_all(row: CanvasChoice, plan: Plan, sizes: Sizes) -> CanvasChoice:
    waste, num_forwards = measure_waste(plan, sizes), len(plan.lengths())
    return replace(
        row,
        num_canvases=plan.num_canvases if row.max_canvases is None else row.num_canvases,
        padding_share=waste.share,
        canvas_pixels=float(waste.canvas_pixels),
        num_forwards=float(num_forwards),
        forwards_per_step=num_forwards / len(plan),
        is_chosen=True,
    )


def _count(
    number: int | None, canvases: CanvasSet | None, first: Sizes, second: Sizes, config: PlanConfig, max_pixels: int
) -> CanvasChoice:
    sample = np.arange(len(first))
    if len(first) > max(SAMPLE, config.batch_size):
        whole_steps = max(SAMPLE // config.batch_size, 1) * config.batch_size
        sample = np.sort(np.random.default_rng(config.seed).choice(len(first), whole_steps, replace=False))
    times = len(first) / len(sample)
    plans = [
        make_plan(sizes[sample], config, max_pixels, canvases, epoch=epoch)
        for epoch, sizes in ((0, first), (1, second))
    ]
    waste = measure_waste(plans[0], first[sample])
    met = [len(np.unique(np.concatenate([_shapes(plan) for plan in plans[:count]]), axis=0)) for count in (1, 2)]
    num_forwards = len(plans[0].lengths())
    all_new = new_canvases(met[0], met[1], times * config.epochs, times * config.epochs * num_forwards)
    first_new = new_canvases(met[0], met[1], times, times * num_forwards)
    return CanvasChoice(
        max_canvases=number,
        num_canvases=plans[0].num_canvases if canvases is None else len(canvases),
        padding_share=waste.share,
        own_share=0.0 if canvases is None else canvases.own_share,
        canvas_pixels=waste.canvas_pixels * times,
        num_forwards=num_forwards * times,
        forwards_per_step=num_forwards / len(plans[0]),
        new_canvases_first_epoch=first_new,
        new_canvases_later_epoch=(all_new - first_new) / max(config.epochs - 1, 1),
    )


def _shapes(plan: Plan) -> Sizes:
    """(m, 3) images, height and width of every forward: what kernels are compiled or chosen for."""
    return np.concatenate([plan.lengths()[:, None], plan.canvases()], axis=1)


def new_canvases(once: int, twice: int, times: float, most: float) -> float:
    """How many canvases are met in ``times`` as much data, when once as much meets ``once`` and twice ``twice``.

    As words in a growing text: the number grows with a power of the length (Heaps' law), found from the two counts.

    >>> new_canvases(10, 10, 30, 1e6), new_canvases(100, 200, 30, 1e6), round(new_canvases(100, 150, 4, 1e6))
    (10.0, 3000.0, 225)
    """
    power = min(max(math.log2(twice / once), 0.0), 1.0)
    return float(min(once * times**power, most))


def mark_fastest(
    choices: Sequence[CanvasChoice], cost: StepCost | None, num_steps: int, epochs: int
) -> list[CanvasChoice]:
    """Put the predicted times into the rows, and mark the least."""
    if cost is None:
        return list(choices)
    timed = []
    for row in choices:
        first, later = (
            cost.seconds(pixels=row.canvas_pixels, launches=row.num_forwards, new_canvases=new, steps=num_steps)
            for new in (row.new_canvases_first_epoch, row.new_canvases_later_epoch)
        )
        total = first + (epochs - 1) * later
        timed.append(replace(row, first_epoch_seconds=first, later_epoch_seconds=later, total_seconds=total))
    fastest = min(timed, key=lambda row: row.total_seconds or 0.0)
    return [replace(row, is_fastest=row is fastest) for row in timed]
