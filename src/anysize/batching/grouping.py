"""Which images make a step together: alike in size, or drawn at random."""

import numpy as np

from anysize.batching.noise import permutation, stream_key, uniform
from anysize.batching.segments import Cut, Floats, Ints, Segments, cut_all, lay_out

__all__ = ["mixed_steps", "similar_steps", "step_offsets"]

# Where a group of steps may be cut in two. Several places instead of the middle alone save up to a tenth of
# the padding; places nearer to the ends save no more and make the tree deep.
_SHARES = np.array([0.5, 0.375, 0.625, 0.25, 0.75])

# Cuts whose costs differ by less than this share are drawn at random: neighbours in size then meet in other
# company every epoch, and the padding grows by a few thousandths only.
_INDIFFERENCE = 0.1


def mixed_steps(num_images: int, batch_size: int, key: int | None) -> tuple[Ints, Ints]:
    """Steps that are uniform draws without replacement, as in textbook SGD.

    Args:
        num_images: N.
        batch_size: images in each step; the last one holds the rest.
        key: random stream, or None for the images in the given order.

    Returns:
        The images, step after step, of shape (N,), and the number in each step.
    """
    images = np.arange(num_images, dtype=np.int64) if key is None else permutation(key, num_images)
    return images, np.diff(step_offsets(num_images, batch_size))


def similar_steps(
    sizes: Ints, canvas_sizes: Ints, batch_size: int, jitter: float, key: int | None
) -> tuple[Ints, Ints]:
    """Steps whose images are alike in height and in width, by recursive bisection.

    The whole data set is cut in two, along height or width and at a multiple of ``batch_size``, where the
    canvases of the two sides take the fewest pixels; then each side likewise, until every piece is one step.
    Sorting by area instead would put portraits and landscapes on one canvas.

    Args:
        sizes: (N, 2) true height and width, which the images are sorted by.
        canvas_sizes: (N, 2) the same, rounded up to what canvases may be, which the pixels are counted by.
        batch_size: images in each step; one step holds the rest, at a random place among the sizes.
        jitter: each height and width is taken up to this share larger or smaller for the sorting.
        key: random stream; None for no randomness at all, where the largest images make the short step.

    Returns:
        The images, step after step, of shape (N,), and the number in each step.
    """
    num_images = len(sizes)
    offsets = step_offsets(num_images, batch_size)
    images, heights, widths = np.arange(num_images, dtype=np.int64), *sizes.T.astype(np.float64)
    if key is not None:
        images = permutation(stream_key(key, 0), num_images)  # equal sizes keep this order
        # A factor, not noise on the logarithm: np.log may differ in its last bit between processors.
        heights = heights * (1 + jitter * (2 * uniform(stream_key(key, 1), num_images) - 1))
        widths = widths * (1 + jitter * (2 * uniform(stream_key(key, 2), num_images) - 1))
        offsets = _move_short_step(offsets, uniform(stream_key(key, 3), 1)[0])
    num_steps = len(offsets) - 1
    everything = lay_out(
        images,
        lengths=np.array([num_images]),
        keys=[(heights, widths), (widths, heights)],
        first=np.zeros(1, dtype=np.int64),
        parts=np.array([num_steps]),
    )
    chooser = _StepCuts(canvas_sizes, offsets, key)
    images, lengths, _ = cut_all(everything, chooser)
    return images, lengths


def step_offsets(num_images: int, batch_size: int) -> Ints:
    """Where each step begins, and the end: 0, batch_size, 2 batch_size, ..., num_images."""
    return np.append(np.arange(0, num_images, batch_size, dtype=np.int64), num_images)


def _move_short_step(offsets: Ints, place: float) -> Ints:
    """Give the steps' lengths with the last one moved to ``place`` in [0, 1), as offsets again."""
    lengths = np.diff(offsets)
    where = int(place * len(lengths))
    lengths[[where, -1]] = lengths[[-1, where]]
    return np.concatenate([offsets[:1], np.cumsum(lengths)])


class _StepCuts:
    """Cuts groups of steps between two steps; one call per level of the tree."""

    def __init__(self, canvas_sizes: Ints, offsets: Ints, key: int | None) -> None:
        self._canvas_sizes = canvas_sizes
        self._offsets = offsets
        self._key = key
        self._level = 0

    def __call__(self, groups: Segments) -> Cut:
        self._level += 1
        images, keys, left_parts = (np.zeros(len(groups.lengths), dtype=np.int64) for _ in range(3))
        several = groups.parts > 1
        if several.any():
            images[several], keys[several], left_parts[several] = self._best(groups.select(several))
        return Cut(images, keys, left_parts)

    def _best(self, groups: Segments) -> tuple[Ints, Ints, Ints]:
        """The cheapest cut of each group, all of which have two steps or more."""
        steps = np.floor(groups.parts * _SHARES[:, None] + 0.5).astype(np.int64)
        steps = np.clip(steps, 1, groups.parts - 1)  # (c, s)
        cuts = self._offsets[groups.first + steps] - self._offsets[groups.first]
        costs = np.stack([self._costs(groups, key, cuts) for key in range(len(groups.orders))])  # (k, c, s)
        keys, rows = np.divmod(costs.reshape(-1, costs.shape[-1]).argmin(axis=0), len(_SHARES))
        group = np.arange(len(keys))
        return cuts[rows, group], keys, steps[rows, group]

    def _costs(self, groups: Segments, key: int, cuts: Ints) -> Floats:
        costs = groups.cut_areas(self._canvas_sizes, key, cuts)
        if self._key is not None:
            noise = uniform(stream_key(self._key, 4, self._level, key), cuts.size).reshape(cuts.shape)
            costs = costs * (1 + _INDIFFERENCE * noise)
        return costs
