"""Bisection of many groups of images at once, level by level, without a loop over images.

A group (segment) is a run of images in one long array, and that array is kept once per sort key (by height,
by width, by area). Cutting a segment in two along one key is a stable partition of the arrays of the other
keys, so nothing is sorted twice: a level costs a few passes over the images, however many segments there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Cut", "Floats", "Ints", "Segments", "cut_all", "lay_out"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segments:
    """Groups of images, each group sorted by several keys.

    Attributes:
        orders: one array per sort key, each of shape (n,): image numbers, group after group, and inside a
            group by that key, ascending. All hold the same images in each group.
        lengths: (s,) images in each group, at least one.
        first: (s,) a number that the caller gives each group: the first of the parts it will be cut into.
        parts: (s,) how many such parts.
    """

    orders: tuple[Ints, ...]
    lengths: Ints
    first: Ints
    parts: Ints

    @property
    def starts(self) -> Ints:
        """(s,) where each group begins in the arrays of ``orders``."""
        return np.cumsum(self.lengths) - self.lengths

    def select(self, mask: npt.NDArray[np.bool_]) -> "Segments":
        """The groups where ``mask``, of shape (s,), is true."""
        images = np.repeat(mask, self.lengths)
        orders = tuple(order[images] for order in self.orders)
        return Segments(orders, self.lengths[mask], self.first[mask], self.parts[mask])

    def cut_areas(self, sizes: Ints, key: int, cuts: Ints) -> Floats:
        """Canvas pixels, both sides together, of some cuts of each group along one key.

        Args:
            sizes: (N, 2) height and width of every image.
            key: which of ``orders``.
            cuts: (c, s) images left of each of c cuts: at least 1, and less than the group's length.

        Returns:
            (c, s) canvas area times number of images, the two sides added up.
        """
        high, wide = sizes[:, 0][self.orders[key]], sizes[:, 1][self.orders[key]]
        starts = self.starts
        pixels = np.empty(cuts.shape)
        for row, images in enumerate(cuts):
            borders = np.stack([starts, starts + images], axis=1).reshape(-1)
            counts = np.stack([images, self.lengths - images], axis=1).reshape(-1)
            # float64: products of extreme sizes and counts pass 2^63. An IEEE product is the same on any
            # machine.
            areas = np.maximum.reduceat(high, borders).astype(np.float64) * np.maximum.reduceat(wide, borders)
            pixels[row] = (areas * counts).reshape(-1, 2).sum(axis=1)
        return pixels

    def all_cut_areas(self, sizes: Ints, key: int) -> tuple[Floats, Floats]:
        """Canvas pixels left and right of every possible cut along one key: two arrays of shape (n,).

        Entry i is for the cut just before position i of ``orders[key]``; a group's first entry, which would
        leave the left side empty, has 0 pixels on the left.
        """
        group = np.repeat(np.arange(len(self.lengths)), self.lengths)
        before = np.arange(len(group)) - self.starts[group]
        left, right = before.astype(np.float64), (self.lengths[group] - before).astype(np.float64)
        for side in (0, 1):
            extents = sizes[:, side][self.orders[key]]
            # Lifting each group above the one before makes a running maximum start anew at each group.
            span = int(extents.max()) + 1
            rising, falling = span * group, span * (len(self.lengths) - 1 - group)
            upto = np.maximum.accumulate(extents + rising) - rising
            onward = np.maximum.accumulate((extents + falling)[::-1])[::-1] - falling
            left[1:] *= upto[:-1]
            right *= onward
        return left, right

    def all_cut_sums(self, values: Ints, key: int) -> tuple[Ints, Ints]:
        """Sums of ``values``, of shape (N,), left and right of every possible cut: two arrays (n,)."""
        # A sum that overflows over all groups is no harm: the difference within one group is right modulo
        # 2^64.
        upto = np.concatenate([[0], np.cumsum(values[self.orders[key]])])
        group = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return upto[:-1] - upto[self.starts][group], upto[self.starts + self.lengths][group] - upto[:-1]

    def cut(self, cuts: Ints, keys: Ints, left_parts: Ints) -> "Segments":
        """Cut every group in two: the first images by its key go left.

        Args:
            cuts: (s,) images that go left: at least 1, and less than the group's length.
            keys: (s,) which of ``orders`` the cut is along.
            left_parts: (s,) how many of the group's parts are the left side's.

        Returns:
            Twice as many groups, left and right of each in turn.
        """
        lengths = np.stack([cuts, self.lengths - cuts], axis=1).reshape(-1)
        # True where, after the cut, an image of a left side lies: the same slots for every key.
        left_slots = np.repeat(np.tile([True, False], len(cuts)), lengths)
        chosen = np.choose(np.repeat(keys, self.lengths), self.orders)
        goes_left = np.zeros(int(chosen.max()) + 1, dtype=bool)
        goes_left[chosen[left_slots]] = True
        orders = []
        for order in self.orders:
            flags = goes_left[order]
            new = np.empty_like(order)
            new[left_slots] = order[flags]
            new[~left_slots] = order[~flags]
            orders.append(new)
        first = np.stack([self.first, self.first + left_parts], axis=1).reshape(-1)
        parts = np.stack([left_parts, self.parts - left_parts], axis=1).reshape(-1)
        return Segments(tuple(orders), lengths, first, parts)


@dataclass(frozen=True, slots=True)
class Cut:
    """What to do with each group; all are of shape (s,).

    Attributes:
        images: how many go left; 0 leaves the group whole.
        keys: along which of the orders.
        left_parts: how many of its parts are the left side's.
    """

    images: Ints
    keys: Ints
    left_parts: Ints


def lay_out(
    groups: Ints,
    *,
    lengths: Ints,
    keys: Sequence[tuple[npt.NDArray[np.generic], ...]],
    first: Ints,
    parts: Ints,
) -> Segments:
    """Sort the images inside each group by every key.

    Args:
        groups: (n,) image numbers, group after group.
        lengths: (s,) images in each group.
        keys: per sort key, its columns of shape (N,), the most important first; ties keep the order of
            ``groups``.
        first: (s,) the number of each group's first part.
        parts: (s,) the number of its parts.
    """
    group = np.repeat(np.arange(len(lengths)), lengths)
    orders = []
    for columns in keys:
        ranking = np.lexsort((*[column[groups] for column in reversed(columns)], group))
        orders.append(groups[ranking])
    return Segments(tuple(orders), lengths, first, parts)


def cut_all(segments: Segments, decide: Callable[[Segments], Cut]) -> tuple[Ints, Ints, Ints]:
    """Cut groups in two until ``decide`` leaves each of them whole.

    Returns:
        images: (n,) image numbers, group after group; the two sides of a cut take the place of what was cut.
        lengths: (g,) images in each final group.
        first: (g,) the first part of each final group.
    """
    total = int(segments.lengths.sum())
    images, lengths, first = (np.zeros(total, dtype=np.int64) for _ in range(3))
    places = segments.starts
    while True:
        cut = decide(segments)
        whole = cut.images == 0
        done = segments.select(whole)
        slots = np.repeat(places[whole] - done.starts, done.lengths) + np.arange(len(done.orders[0]))
        images[slots] = done.orders[0]
        lengths[places[whole]], first[places[whole]] = done.lengths, done.first
        if whole.all():
            break
        cuts = cut.images[~whole]
        segments = segments.select(~whole).cut(cuts, cut.keys[~whole], cut.left_parts[~whole])
        places = np.stack([places[~whole], places[~whole] + cuts], axis=1).reshape(-1)
    used = lengths > 0
    return images, lengths[used], first[used]
