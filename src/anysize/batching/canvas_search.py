"""The search for at most K rectangles that hold all images of a histogram with the fewest pixels.

A canvas is placed where it saves most while the others stay: for images that now lie on canvases of area a_1,
a_2, ..., a new canvas (H, W) saves the sum over k of n_k(H, W) max(0, a_k - H W), where n_k(H, W) counts the
images of canvas k that are at most H high and W wide. That is a cumulative sum for each k, so *all* places are
priced at once. Canvases are added greedily, then each in turn is taken out and placed anew until nothing
improves; to leave local optima, a few neighbours are taken out together and placed again (large neighbourhood
search: Shaw 1998, "Using constraint programming and local search methods to solve vehicle routing problems").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anysize.batching.histogram import SizeHistogram
from anysize.batching.noise import stream_key, words
from anysize.batching.segments import Floats, Ints

__all__ = ["Found", "search"]

Place = tuple[int, int]
"""A canvas as (row, column) of the grid."""

# Heights and widths that canvases are first sought among. 128 instead of 64 changed the result by less than
# 0.003 of the pixels on all distributions tried, at four times the time.
_EDGES = 64

_SWEEPS = 20
_ENOUGH = 1e-4  # a sweep that saves a smaller share of the pixels than this is the last

# Rounds of taking several canvases out. Many more, from many starts, found 0.008 of the pixels at 16 canvases, and less
# than 0.001 at 8 and 32.
_ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Found:
    """Canvases and what they cost.

    Attributes:
        canvases: (height, width) of each, by area, ascending.
        cost: canvas pixels of all images, those on canvases of their own with the price of that.
    """

    canvases: tuple[tuple[int, int], ...]
    cost: float


def search(
    histogram: SizeHistogram, max_canvases: int, own_images: int, own_price: float, max_pixels: int | None = None
) -> list[Found]:
    """The best canvases found for each number of them, from 1 to ``max_canvases`` (fewer if they cannot help).

    Args:
        histogram: of rounded sizes.
        max_canvases: K.
        own_images: so many images at most may lie on canvases of their own.
        own_price: what that costs for each image beside its pixels, in pixels.
        max_pixels: no canvas has more; None for any number.
    """
    own = _Own(own_images, own_price)
    coarse = _Grid(histogram, _edges(histogram, 0), _edges(histogram, 1), own, max_pixels)
    steps = _grow(coarse, max_canvases)
    steps[-1] = _shake(coarse, steps[-1])
    return [_polish(histogram, coarse, step, own, max_pixels) for step in steps]


@dataclass(frozen=True, slots=True)
class _Own:
    """Canvases of their own: for how many images at most, and what each costs beside its pixels."""

    images: int
    price: float


def _edges(histogram: SizeHistogram, side: int) -> Ints:
    """Heights (side 0) or widths (side 1) to seek among: half of them by mass of pixels, half by logarithm."""
    values, place = np.unique(histogram.sizes[:, side], return_inverse=True)
    if len(values) <= _EDGES:
        return np.asarray(values)
    mass = np.cumsum(np.bincount(place.reshape(-1), weights=histogram.pixels))
    by_mass = np.searchsorted(mass, mass[-1] * np.arange(1, _EDGES // 2) / (_EDGES // 2))
    steps = (float(values[-1]) / float(values[0])) ** (np.arange(_EDGES // 2) / (_EDGES // 2))
    # A power may differ in its last bit between processors; a millionth of a pixel decides nothing.
    by_size = np.searchsorted(values, values[0] * steps - 1e-6)
    chosen = np.unique(np.concatenate([by_mass, by_size, [len(values) - 1]]))
    return np.asarray(values[np.minimum(chosen, len(values) - 1)])


class _Grid:
    """The histogram on a grid of heights and widths, each cell holding the sizes up to its corner.

    Args:
        histogram: of rounded sizes.
        heights: (a,) ascending; the last is the largest of the histogram.
        widths: (b,) likewise.
        own: canvases of their own.
        max_pixels: see `search`.
    """

    def __init__(
        self, histogram: SizeHistogram, heights: Ints, widths: Ints, own: _Own, max_pixels: int | None
    ) -> None:
        self.heights, self.widths = heights, widths
        self.shape = (len(heights), len(widths))
        self.areas: Floats = heights[:, None].astype(np.float64) * widths
        rows = np.searchsorted(heights, histogram.sizes[:, 0])
        columns = np.searchsorted(widths, histogram.sizes[:, 1])
        cells = rows * len(widths) + columns
        size = self.areas.size
        counts = np.bincount(cells, weights=histogram.counts, minlength=size)
        exact = np.bincount(cells, weights=histogram.counts * histogram.areas, minlength=size)
        self.counts = counts.astype(np.float64).reshape(self.shape)
        self.own: Floats = (exact / np.maximum(counts, 1) + own.price).reshape(self.shape)
        """(a, b) what an image of the cell costs on a canvas of its own, on average."""
        self.own_images = own.images
        self.too_large = self.areas > (np.inf if max_pixels is None else max_pixels)
        # An image without a canvas costs more than any choice that gives it one.
        self.missing = float(self.areas[-1, -1]) * 8 + own.price

    def cover(self, places: Sequence[Place]) -> tuple[Floats, Ints]:
        """(a, b) area of the smallest canvas for each cell, and its number; -1 where none is large enough."""
        best = np.full(self.shape, self.missing)
        who = np.full(self.shape, -1)
        for number in sorted(range(len(places)), key=lambda number: -self.areas[places[number]]):
            row, column = places[number]
            best[: row + 1, : column + 1] = self.areas[row, column]
            who[: row + 1, : column + 1] = number
        return best, who

    def share_on_canvases(self, best: Floats) -> tuple[Floats, float]:
        """(a, b) the share of each cell's images that lies on the canvases, and what all images cost then.

        The others get canvases of their own: those that save most by it.
        """
        shares = np.ones(self.areas.size)
        costs = best.reshape(-1)
        if self.own_images:
            saved = costs - self.own.reshape(-1)
            counts = self.counts.reshape(-1)
            order = np.argsort(-saved, kind="stable")
            before = np.cumsum(counts[order]) - counts[order]
            taken = np.clip((self.own_images - before) / np.maximum(counts[order], 1), 0, 1)
            shares[order] = np.where(saved[order] > 0, 1 - taken, 1)
        left = shares.reshape(self.shape)
        # cumsum adds from left to right on any machine; sum adds in an order that depends on the processor.
        costs_all = np.cumsum((self.counts * (left * best + (1 - left) * self.own)).reshape(-1))
        return left, float(costs_all[-1])

    def best_place(self, places: Sequence[Place], shares: Floats) -> Place:
        """Where one more canvas saves most."""
        _, who = self.cover(places)
        counts = self.counts * shares
        saved = np.zeros(self.shape)
        for number in range(-1, len(places)):
            here = who == number
            area = self.missing if number < 0 else float(self.areas[places[number]])
            contained = np.cumsum(np.cumsum(np.where(here, counts, 0), axis=0), axis=1)
            saved += contained * np.maximum(area - self.areas, 0)
        saved[self.too_large] = -1
        return self.place(int(saved.argmax()))

    def place(self, cell: int) -> Place:
        """Row and column of a cell that is numbered row by row."""
        row, column = divmod(cell, self.shape[1])
        return row, column

    def evaluate(self, places: Sequence[Place]) -> tuple[Floats, float]:
        """`share_on_canvases` of these canvases."""
        return self.share_on_canvases(self.cover(places)[0])


@dataclass(frozen=True, slots=True)
class _Step:
    places: tuple[Place, ...]
    cost: float


def _grow(grid: _Grid, max_canvases: int) -> list[_Step]:
    """Add one canvas after the other, each time followed by placing every one anew."""
    steps: list[_Step] = []
    places: tuple[Place, ...] = ()
    # The first canvas is sought as if the largest images had canvases of their own already.
    shares, _ = grid.share_on_canvases(grid.areas)
    for _ in range(max_canvases):
        # Where it saves most if the same images keep canvases of their own, if none does, and for those of them
        # that are most alike.
        alone = grid.counts * (1 - shares)
        candidates = {grid.best_place(places, shares), grid.best_place(places, np.ones(grid.shape))}
        candidates.add(grid.place(int(np.where(grid.too_large, 0, alone).argmax())))
        options = [(*places, place) for place in sorted(candidates) if place not in places]
        if not options:
            break
        step = _descend(grid, min(options, key=lambda option: grid.evaluate(option)[1]), sweeps=2)
        if steps and step.cost >= steps[-1].cost:
            break
        steps.append(step)
        places = step.places
        shares, _ = grid.evaluate(places)
    return steps


def _descend(grid: _Grid, places: tuple[Place, ...], sweeps: int) -> _Step:
    """Take each canvas out in turn and place it where it saves most, until that saves next to nothing."""
    shares, cost = grid.evaluate(places)
    for _ in range(sweeps):
        before = cost
        for number in range(len(places)):
            others = places[:number] + places[number + 1 :]
            moved = (*places[:number], grid.best_place(others, shares), *places[number + 1 :])
            if moved == places:
                continue
            new_shares, new_cost = grid.evaluate(moved)
            if new_cost < cost:
                places, shares, cost = moved, new_shares, new_cost
        if cost >= before * (1 - _ENOUGH):
            break
    return _Step(places, cost)


def _shake(grid: _Grid, step: _Step) -> _Step:
    """Take two or three canvases out together and place others, many times over."""
    step = _descend(grid, step.places, _SWEEPS)
    filled = np.flatnonzero((grid.counts > 0) & ~grid.too_large)
    if len(step.places) < 2 or not len(filled):
        return step
    for round_number in range(_ROUNDS):
        draws = words(stream_key(len(step.places), round_number), 5)
        out = {int(draw % np.uint64(len(step.places))) for draw in draws[: 2 + int(draws[3] % np.uint64(2))]}
        places = tuple(place for number, place in enumerate(step.places) if number not in out)
        left = len(out)
        if round_number % 2:  # every other time, one of them anywhere
            places = (*places, grid.place(int(filled[int(draws[4] % np.uint64(len(filled)))])))
            left -= 1
        for _ in range(left):
            places = (*places, grid.best_place(places, grid.evaluate(places)[0]))
        other = _descend(grid, places, sweeps=3)
        if other.cost < step.cost:
            step = other
    return step


def _polish(histogram: SizeHistogram, coarse: _Grid, step: _Step, own: _Own, max_pixels: int | None) -> Found:
    """Place the canvases anew among all heights and widths of the histogram that are near them."""
    heights = _near(histogram.sizes[:, 0], coarse.heights, [row for row, _ in step.places])
    widths = _near(histogram.sizes[:, 1], coarse.widths, [column for _, column in step.places])
    fine = _Grid(histogram, heights, widths, own, max_pixels)
    places = tuple(
        (
            int(np.searchsorted(heights, coarse.heights[row])),
            int(np.searchsorted(widths, coarse.widths[column])),
        )
        for row, column in step.places
    )
    found = _descend(fine, places, sweeps=2)
    canvases = {(int(heights[row]), int(widths[column])) for row, column in found.places}
    ordered = sorted(canvases, key=lambda canvas: (canvas[0] * canvas[1], canvas[0]))
    return Found(tuple(ordered), found.cost)


def _near(values: npt.NDArray[np.int64], edges: Ints, chosen: Sequence[int]) -> Ints:
    """The values between each chosen edge's neighbours, at most `_EDGES` and the edges themselves."""
    distinct = np.unique(values)
    wanted = np.zeros(len(distinct), dtype=bool)
    wanted[-1] = True
    most = max(_EDGES // max(len(set(chosen)), 1), 2)
    for number in sorted(set(chosen)):
        low = int(edges[number - 1]) if number else 0
        high = int(edges[min(number + 1, len(edges) - 1)])
        inside = np.flatnonzero((distinct > low) & (distinct <= high))
        wanted[inside[:: max(len(inside) // most, 1)]] = True
        wanted[np.searchsorted(distinct, edges[number])] = True
    return np.asarray(distinct[wanted])
