"""How a step is divided: among ranks, so that they take equally long, and into forwards that fit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anysize.batching.segments import Cut, Floats, Ints, Segments, cut_all, lay_out
from anysize.batching.sorting import stable_order

__all__ = ["Forwards", "divide_steps"]


@dataclass(frozen=True, slots=True)
class Forwards:
    """All micro-batches of an epoch, step after step.

    Attributes:
        images: (N,) image numbers, micro-batch after micro-batch; inside one by true area from the largest to
            the smallest, equal extents side by side.
        lengths: (m,) images in each micro-batch.
        canvases: (m, 2) height and width of the canvas of each.
        steps: (m,) the step that each belongs to, ascending.
        ranks: (m,) the rank that computes it.
    """

    images: Ints
    lengths: Ints
    canvases: Ints
    steps: Ints
    ranks: Ints


def divide_steps(
    images: Ints,
    lengths: Ints,
    true_sizes: Ints,
    canvas_sizes: Ints,
    *,
    num_ranks: int,
    max_pixels: int | None,
    launch_pixels: float,
) -> Forwards:
    """Deal each step to the ranks, then cut what a rank got into micro-batches.

    Args:
        images: (N,) image numbers, step after step.
        lengths: (s,) images in each step.
        true_sizes: (N, 2) height and width.
        canvas_sizes: (N, 2) height and width, rounded up to what canvases may be; each area is at most
            ``max_pixels``.
        num_ranks: how many ranks; in every step, rank 0 gets the smallest images.
        max_pixels: canvas pixels that one micro-batch may hold, or None for any number.
        launch_pixels: a cut must save more padded pixels than this, unless ``max_pixels`` asks for it.
    """
    ends = np.cumsum(lengths)
    owners = np.zeros(len(lengths), dtype=np.int64)
    cut_again = launch_pixels < np.inf
    if num_ranks > 1:
        parts = np.full(len(lengths), num_ranks)
        groups = _sorted_groups(images, lengths, canvas_sizes, owners, parts)
        images, lengths, owners = cut_all(groups, lambda groups: _rank_cuts(groups, canvas_sizes, cut_again))
    if max_pixels is not None or cut_again:
        groups = _sorted_groups(images, lengths, canvas_sizes, owners, np.ones_like(lengths))
        images, lengths, owners = cut_all(
            groups, lambda groups: _forward_cuts(groups, canvas_sizes, max_pixels, launch_pixels)
        )
    steps = np.searchsorted(ends, np.cumsum(lengths) - lengths, side="right")
    images = images[_by_size(images, np.repeat(np.arange(len(lengths)), lengths), true_sizes)]
    canvases = np.maximum.reduceat(canvas_sizes[images], np.cumsum(lengths) - lengths, axis=0)
    return Forwards(images, lengths, canvases, steps.astype(np.int64), owners)


def _by_size(images: Ints, groups: Ints, true_sizes: Ints) -> Ints:
    """The order of ``images`` by group, then largest area, then height (so that equal extents are neighbours)."""
    heights, widths = true_sizes[images].T
    areas = heights * widths
    return stable_order(groups, areas.max() - areas, heights.max() - heights, images)


def _sorted_groups(images: Ints, lengths: Ints, canvas_sizes: Ints, first: Ints, parts: Ints) -> Segments:
    heights, widths = canvas_sizes.T
    areas = heights * widths
    keys = [(heights, widths), (widths, heights), (areas, heights)]
    return lay_out(images, lengths=lengths, keys=keys, first=first, parts=parts)


def _rank_cuts(groups: Segments, canvas_sizes: Ints, cut_again: bool) -> Cut:
    """Cut the groups of several ranks in two, where the side that takes longer, per rank of it, takes least.

    A run of neighbours in size has a canvas of its own, so the ranks' canvases are tight as well. With fewer
    images than ranks, each image gets a rank, and the other ranks nothing. If what a rank gets will be cut
    again into micro-batches, most of its padding goes, and the images' own pixels tell better how long it
    takes.
    """
    left_parts = groups.parts // 2
    images, keys = np.zeros_like(left_parts), np.zeros_like(left_parts)
    divisible = (groups.parts > 1) & (groups.lengths > 1)
    if divisible.any():
        images[divisible], keys[divisible] = _fairest(
            groups.select(divisible), canvas_sizes, left_parts[divisible], cut_again
        )
    return Cut(images, keys, left_parts)


def _fairest(groups: Segments, canvas_sizes: Ints, left_parts: Ints, cut_again: bool) -> tuple[Ints, Ints]:
    right_parts = groups.parts - left_parts
    group = np.repeat(np.arange(len(groups.lengths)), groups.lengths)
    before = np.arange(len(group)) - groups.starts[group]
    # Every rank gets an image where there are enough of them, and neither side more images than it must where
    # not.
    short = groups.lengths < groups.parts
    fewest = np.where(short, np.maximum(groups.lengths - right_parts, 1), left_parts)
    most = np.where(short, np.minimum(left_parts, groups.lengths - 1), groups.lengths - right_parts)
    allowed = (before >= fewest[group]) & (before <= most[group])
    longer = []
    left: npt.NDArray[np.number]
    right: npt.NDArray[np.number]
    for key in range(len(groups.orders)):
        if cut_again:
            left, right = groups.all_cut_sums(canvas_sizes[:, 0] * canvas_sizes[:, 1], key)
        else:
            left, right = groups.all_cut_areas(canvas_sizes, key)
        worst = np.maximum(left / left_parts[group], right / right_parts[group])
        longer.append(np.where(allowed, worst, np.inf))
    _, images, keys = _least(groups, longer)
    return images, keys


def _forward_cuts(groups: Segments, canvas_sizes: Ints, max_pixels: int | None, launch_pixels: float) -> Cut:
    """Cut where it saves more than a launch costs; else evenly, if the group is over the limit."""
    images, keys = np.zeros_like(groups.lengths), np.zeros_like(groups.lengths)
    heights, widths = _canvases(groups, canvas_sizes)
    if launch_pixels < np.inf:
        totals = []
        for key in range(len(groups.orders)):
            left, right = groups.all_cut_areas(canvas_sizes, key)
            totals.append(np.where(left > 0, left + right, np.inf))
        least, images, keys = _least(groups, totals)
        saved = heights.astype(np.float64) * widths * groups.lengths - least
        images[saved <= launch_pixels] = 0
    if max_pixels is not None:
        # None may fit on the canvas of all, as with a wide and a high image; each fits on its own.
        fit = np.maximum(max_pixels // (heights * widths), 1)
        over = (groups.lengths > fit) & (images == 0)
        if over.any():
            images[over], keys[over] = _even_cuts(groups.select(over), canvas_sizes, fit[over])
    # No parts for the left side: both sides stay with the rank that the group belongs to.
    return Cut(images, keys, np.zeros_like(images))


def _even_cuts(groups: Segments, canvas_sizes: Ints, fit: Ints) -> tuple[Ints, Ints]:
    """Cut into the fewest micro-batches of at most ``fit`` images, alike in number, along the best key."""
    pieces = -(-groups.lengths // fit)
    images = -(-groups.lengths * (pieces // 2) // pieces)
    costs = [groups.cut_areas(canvas_sizes, key, images[None])[0] for key in range(len(groups.orders))]
    return images, np.argmin(costs, axis=0)


def _canvases(groups: Segments, canvas_sizes: Ints) -> tuple[Ints, Ints]:
    heights, widths = (np.maximum.reduceat(side[groups.orders[0]], groups.starts) for side in canvas_sizes.T)
    return heights, widths


def _least(groups: Segments, values: list[Floats]) -> tuple[Floats, Ints, Ints]:
    """The least value of each group over all keys and places: the value, the place in its group, the key."""
    starts = groups.starts
    best = np.stack([np.minimum.reduceat(value, starts) for value in values])  # (k, s)
    keys = best.argmin(axis=0)
    group = np.repeat(np.arange(len(starts)), groups.lengths)
    hits = np.flatnonzero(np.choose(keys[group], values) == best.min(axis=0)[group])
    _, earliest = np.unique(group[hits], return_index=True)
    return best.min(axis=0), hits[earliest] - starts, keys
