"""A step is shared among ranks: each gets images that cost about as much as those of any other."""

from itertools import pairwise

import numpy as np

from anysize.batching.segments import Ints
from anysize.batching.sorting import stable_order

__all__ = ["deal"]

_CELLS = 1 << 22


def deal(steps: Ints, canvases: Ints, areas: Ints, num_shared: int, num_ranks: int) -> Ints:
    """Give each image of every step to a rank, so that the canvas pixels of all ranks are alike.

    From the largest canvas to the smallest, each image goes to the rank with the fewest pixels so far (longest
    processing time first: Graham 1969, "Bounds on multiprocessing timing anomalies"). The images of a shared
    canvas cost the same, so they are dealt all at once: like water, they fill up the lowest.

    Args:
        steps: (N,) the step of each image, ascending.
        canvases: (N,) the canvas of each image; the first ``num_shared`` are shared by many images, and
            ascending in area.
        areas: (c,) pixels of each canvas.
        num_shared: how many canvases are shared.
        num_ranks: how many ranks.

    Returns:
        (N,) the rank of each image.
    """
    if num_ranks == 1:
        return np.zeros(len(steps), dtype=np.int64)
    # So many steps at a time that the table of steps, canvases and ranks stays small.
    most = max(_CELLS // (max(num_shared, 1) * num_ranks), 1)
    borders = np.searchsorted(steps, np.arange(0, int(steps[-1]) + most + 1, most)).tolist()
    dealt = [
        _deal(steps[first:last] - steps[first], canvases[first:last], areas, num_shared, num_ranks)
        for first, last in pairwise(borders)
        if last > first
    ]
    return np.concatenate(dealt)


def _deal(steps: Ints, canvases: Ints, areas: Ints, num_shared: int, num_ranks: int) -> Ints:
    num_steps = int(steps[-1]) + 1
    loads = np.zeros((num_steps, num_ranks), dtype=np.int64)
    ranks = np.empty(len(steps), dtype=np.int64)

    alone = np.flatnonzero(canvases >= num_shared)
    alone = alone[stable_order(steps[alone], areas.max() - areas[canvases[alone]])]
    starts = np.searchsorted(steps[alone], np.arange(num_steps))
    rounds, turn = np.divmod(np.arange(len(alone)) - starts[steps[alone]], num_ranks)
    by_round = stable_order(rounds)
    ends = np.cumsum(np.bincount(rounds, minlength=1)).tolist()
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        now = by_round[first:last]  # the largest, one for each rank, then the next largest
        images = alone[now]
        rows = steps[images]
        ranks[images] = np.argsort(loads, axis=1, kind="stable")[rows, turn[now]]
        loads[rows, ranks[images]] += areas[canvases[images]]

    shared = np.flatnonzero(canvases < num_shared)
    cells = steps[shared] * num_shared + canvases[shared]
    counts = np.bincount(cells, minlength=num_steps * num_shared).reshape(num_steps, num_shared)
    dealt = np.zeros((num_steps, num_shared, num_ranks), dtype=np.int64)
    for canvas in reversed(range(num_shared)):
        rows = np.flatnonzero(counts[:, canvas])
        if len(rows):
            dealt[rows, canvas] = _fill(loads[rows], counts[rows, canvas], int(areas[canvas]))
            loads[rows] += dealt[rows, canvas] * areas[canvas]
    in_order = shared[stable_order(cells)]
    owners = np.tile(np.arange(num_ranks), num_steps * num_shared)
    ranks[in_order] = np.repeat(owners, dealt.reshape(-1))
    return ranks


def _fill(loads: Ints, counts: Ints, area: int) -> Ints:
    """How many of ``counts[s]`` images of ``area`` pixels each rank of step s gets: (s, num_ranks)."""
    num_ranks = loads.shape[1]
    rows = np.arange(len(loads))[:, None]
    lowest = np.argsort(loads, axis=1, kind="stable")
    ascending = loads[rows, lowest]
    # The water level if only the m lowest were filled; the right m is the largest whose m-th load lies below it.
    levels = (np.cumsum(ascending, axis=1) + (counts * area)[:, None]) // np.arange(1, num_ranks + 1)
    level = levels[rows[:, 0], np.maximum((ascending <= levels).sum(axis=1) - 1, 0)]
    filled = np.maximum(level[:, None] - loads, 0) // area
    left = counts - filled.sum(axis=1)  # whole images fill a little less than water: less than one a rank
    lowest = np.argsort(loads + filled * area, axis=1, kind="stable")
    more = np.zeros_like(filled)
    more[rows, lowest] = np.arange(num_ranks) < left[:, None]
    return np.asarray(filled + more)
