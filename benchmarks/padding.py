"""How much padding do ways of batching images of many sizes compute, and how near to the best are ours?

Claim: in batches of 32, K static canvases (at most 5 % of the images on exact canvases of their own) and free canvases
waste at most the shares of `TARGETS`; beside each it is printed whether that is met.

The ways, on three synthetic collections and four real ones (``sizes.py``), all re-implemented from their
descriptions, none with code of theirs:

* ``to largest``: every image on the largest height and width of the collection.
* ``random``: random batches, each padded to its own largest height and width; so are all batches below.
* ``aspect groups``: torchvision, references/detection/group_by_aspect_ratio.py: classes of height over width, cut
  at 2 ** linspace(-1, 1, 7) (``--aspect-ratio-group-factor 3``, the default there); a batch is of one class, in
  random order.
* ``lhotse``: lhotse/dataset/sampling/dynamic_bucketing.py with its default numbers: 10 buckets of one length, of equal
  total length in the first 10,000 items; 20,000 items are held; a batch is drawn from a random bucket that has a full
  one. The length is the image's area, or its longer side.
* ``mega-batches``: Hugging Face transformers, ``group_by_length``: random groups of 50 batches, each sorted by length
  (here the area) and cut.
* ours, ``static K``: `choose_canvases`, then `plan_epoch` with "similar"; ``no own`` without exact canvases.
* ours, ``free``: `plan_epoch` with default shuffling, canvases in multiples of 1 (the default) and of 8.
* ours, ``mixed``: each step a uniform draw, cut into several forwards.

How near to the best static canvases are: the search again from random starts with many more rounds, and a proven lower
bound (`lower_bound`) on what any 8 canvases can reach. What laying several images into one canvas would give is
simulated: equal slots (`slot_padding`) and shelves (`shelf_padding`). The library cannot train on such canvases.

    python benchmarks/padding.py --output benchmarks/results/padding
    python benchmarks/padding.py --images 100000 --skip bound best packing
"""

import argparse
import json
import os
import platform
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

import anysize
from anysize.batching import Plan, SizeHistogram, canvas_search, choose_canvases, padding_share, plan_epoch
from anysize.batching.canvases import _settle
from anysize.reporting import style
from sizes import REAL, SYNTHETIC, Sizes, real_sizes

BATCH = 32
OWN_SHARE = 0.05
LAUNCH_PIXELS = 65_536.0
CANVASES = (4, 8, 16, 32)
GAPS = (8, 32)
TARGETS = {
    "voc_like": {"static 8": 0.05, "static 16": 0.04, "static 32": 0.03, "free": 0.03, "free, of 8": 0.03},
    "imagenet_like": {"static 8": 0.25, "static 16": 0.14, "static 32": 0.10, "free": 0.06, "free, of 8": 0.06},
    "heterogeneous": {"static 8": 0.35, "static 16": 0.24, "static 32": 0.17, "free": 0.08, "free, of 8": 0.08},
}

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Batches = tuple[Ints, Ints]
"""Image numbers, batch after batch, and how many are in each."""


@dataclass(frozen=True)
class Result:
    """One way on one collection."""

    data: str
    way: str
    padding: float
    """Share of the canvas pixels that are no image's."""
    num_steps: int
    """Of an epoch; more than images / batch where batches are not full."""
    forwards: float
    """Per step."""
    num_canvases: int
    """Different shapes in an epoch."""
    own_share: float | None = None
    """Share of the images that lie on canvases of their own, where there are static ones."""
    target: float | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """Whether the target is met, where there is one."""
        if self.target is None:
            return ""
        return f"target {self.target:.0%}: {'met' if self.padding <= self.target else 'NOT met'}"


# The ways of others.


def cut(images: Ints) -> Batches:
    """Batches of images in their order; the last one holds the rest."""
    lengths = np.full(-(-len(images) // BATCH), BATCH)
    lengths[-1] = len(images) - BATCH * (len(lengths) - 1)
    return images, lengths


def random_batches(sizes: Sizes, seed: int) -> Batches:
    """Uniform draws."""
    return cut(np.random.default_rng(seed).permutation(len(sizes)))


def aspect_groups(sizes: Sizes, seed: int, classes: int = 3) -> Batches:
    """Batches of one class of height over width; as many as whole batches fit, so a few images are left out."""
    order = np.random.default_rng(seed).permutation(len(sizes))
    edges = 2 ** np.linspace(-1, 1, 2 * classes + 1)
    group = np.searchsorted(edges, sizes[order, 0] / sizes[order, 1], side="right")
    full, begun = [], []
    for number in np.unique(group):
        members = order[group == number]
        whole = len(members) // BATCH * BATCH
        full.append(members[:whole])
        if whole < len(members):  # filled up with the first of the class, which then come twice
            begun.append((len(members) - whole, np.concatenate([members[whole:], np.resize(members, BATCH)])[:BATCH]))
    images = np.concatenate(full)
    missing = max(len(sizes) // BATCH - len(images) // BATCH, 0)
    begun.sort(key=lambda one: -one[0])
    return cut(np.concatenate([images, *(batch for _, batch in begun[:missing])]))


def lhotse_buckets(sizes: Sizes, seed: int, *, by: str, num_buckets: int = 10) -> Batches:
    """Batches drawn from buckets of one length, out of a buffer."""
    chance = random.Random(seed)
    order = np.random.default_rng(seed).permutation(len(sizes))
    lengths = sizes.prod(axis=1) if by == "area" else sizes.max(axis=1)
    sample = np.sort(lengths[order[:10_000]])
    total = np.cumsum(sample)
    edges = sample[np.searchsorted(total, total[-1] * np.arange(1, num_buckets) / num_buckets)]
    bucket_of = np.searchsorted(edges, lengths, side="right").tolist()
    buckets: list[list[int]] = [[] for _ in range(num_buckets)]
    coming = iter(order.tolist())

    def take_in(count: int) -> None:
        for image in islice(coming, count):
            buckets[bucket_of[image]].append(image)

    take_in(20_000)
    images: list[int] = []
    counts: list[int] = []
    while any(buckets):
        ready = [bucket for bucket in buckets if len(bucket) >= BATCH] or [bucket for bucket in buckets if bucket]
        bucket = chance.choice(ready)
        count = min(BATCH, len(bucket))
        for _ in range(count):
            place = int(chance.random() * len(bucket))
            bucket[place], bucket[-1] = bucket[-1], bucket[place]
            images.append(bucket.pop())
        counts.append(count)
        take_in(count)
    return np.array(images), np.array(counts)


def mega_batches(sizes: Sizes, seed: int) -> Batches:
    """Random groups of 50 batches (fewer if there were less than 4 groups), each sorted by area."""
    order = np.random.default_rng(seed).permutation(len(sizes))
    batches = max(min(len(sizes) // (4 * BATCH), 50), 1)
    group = np.arange(len(sizes)) // (batches * BATCH)
    return cut(order[np.lexsort((-sizes[order].prod(axis=1), group))])


PEERS: dict[str, Callable[[Sizes, int], Batches]] = {
    "random": random_batches,
    "aspect groups": aspect_groups,
    "lhotse, area": partial(lhotse_buckets, by="area"),
    "lhotse, side": partial(lhotse_buckets, by="side"),
    "mega-batches": mega_batches,
}


def peer_result(data: str, way: str, sizes: Sizes, batches: Batches, seconds: float) -> Result:
    """Each batch padded to its own largest height and width."""
    images, lengths = batches
    canvases = np.maximum.reduceat(sizes[images], np.cumsum(lengths) - lengths, axis=0)
    real, padded = sizes[images].prod(axis=1).sum(), (canvases.prod(axis=1) * lengths).sum()
    return Result(
        data, way, float(1 - real / padded), len(lengths), 1.0, len(np.unique(canvases, axis=0)), seconds=seconds
    )


# All ways on one collection.


def measure(data: str, sizes: Sizes, seed: int) -> Iterator[Result]:
    """Every way, the others' first."""
    largest = sizes.max(axis=0).prod()
    yield Result(data, "to largest", float(1 - sizes.prod(axis=1).mean() / largest), -(-len(sizes) // BATCH), 1.0, 1)
    for way, batches in PEERS.items():
        began = time.perf_counter()
        made = batches(sizes, seed)
        yield peer_result(data, way, sizes, made, time.perf_counter() - began)
    histogram = SizeHistogram.of(sizes, 8)
    for way, own_share in (("static {}", OWN_SHARE), ("static {}, no own", 0.0)):
        for count in CANVASES:
            began = time.perf_counter()
            chosen = choose_canvases(histogram, count, own_share=own_share)
            plan = plan_epoch(sizes, BATCH, canvases=chosen, seed=seed)
            yield our_result(data, way.format(count), sizes, plan, began, chosen.own_share)
    for way, options in {
        "free": {},
        "free, of 8": {"multiple_of": 8},
        "mixed, free": {"mixing": "mixed", "multiple_of": 8},
    }.items():
        began = time.perf_counter()
        yield our_result(data, way, sizes, plan_epoch(sizes, BATCH, seed=seed, **options), began)
    began = time.perf_counter()
    chosen = choose_canvases(histogram, 16)
    plan = plan_epoch(sizes, BATCH, canvases=chosen, mixing="mixed", seed=seed)
    yield our_result(data, "mixed, static 16", sizes, plan, began, chosen.own_share)


def our_result(data: str, way: str, sizes: Sizes, plan: Plan, began: float, own_share: float | None = None) -> Result:
    """What a plan of ours takes."""
    return Result(
        data,
        way,
        padding_share(plan, sizes),
        len(plan),
        len(plan.lengths()) / len(plan),
        plan.num_canvases,
        own_share,
        TARGETS.get(data, {}).get(way),
        time.perf_counter() - began,
    )


# How near to the best: the same search from other places, for longer.


def best_known(sizes: Sizes, count: int, starts: int, rounds: int) -> dict[str, float]:
    """Padding shares of ``count`` static canvases: as the library finds them, and after a much longer search."""
    histogram = SizeHistogram.of(sizes, 8)
    own_images = int(OWN_SHARE * histogram.num_images)
    own = canvas_search._Own(own_images, LAUNCH_PIXELS)
    edges = canvas_search._edges(histogram, 0), canvas_search._edges(histogram, 1)
    grid = canvas_search._Grid(histogram, *edges, own, None)
    found = canvas_search._grow(grid, count)[-1:]
    draw = np.random.default_rng(count)
    cells = np.flatnonzero(grid.counts.reshape(-1))
    for _ in range(starts - 1):
        corner = (len(grid.heights) - 1, len(grid.widths) - 1)
        drawn = [divmod(int(cell), len(grid.widths)) for cell in draw.choice(cells, count - 1, replace=False)]
        found.append(canvas_search._descend(grid, (*drawn, corner), 20))
    usual, canvas_search._ROUNDS = canvas_search._ROUNDS, rounds
    try:
        shaken = [canvas_search._shake(grid, one) for one in found]
    finally:
        canvas_search._ROUNDS = usual
    settled = []
    for one in shaken:
        polished = canvas_search._polish(histogram, grid, one, own, None)
        settled.append(_settle(histogram, polished.canvases, own_images, LAUNCH_PIXELS, None).padding_share)
    return {"ours": choose_canvases(histogram, count).padding_share, "best": min(settled), "worst": max(settled)}


# How near to the best: a bound that no choice of canvases can pass.


@dataclass
class Relaxed:
    """At most ``count`` canvases for a coarse histogram, with prices in the place of "every image lies somewhere".

    Heights, widths and canvases are rounded *down* to a grid, so every true choice is one here and costs no more.
    An image of cell i pays a price v_i at most, whatever happens to it. Then canvases do not compete for images any
    more: canvas j earns S_j = sum over the cells in it of n_i max(0, v_i - a_j), and the few that may have canvases
    of their own earn v_i less their own area, best first. For *any* prices, sum n_i v_i less the ``count`` largest S
    less the earnings of the few is at most the pixels of the best choice (Lagrange; for the location of warehouses:
    Cornuéjols, Fisher, Nemhauser 1977). Good prices come from the subgradient method; a bad one costs tightness only.
    The best prices give the value of the linear relaxation: on a grid of 24 x 24 (heterogeneous, 8 canvases) HiGHS
    finds 17.74 % padding for that, the subgradient method 17.70 %, and the best choice known has 19.79 %.
    """

    counts: Floats
    """(a, b) images in each cell."""
    heights: Ints
    widths: Ints
    count: int
    own_images: float
    areas: Floats = field(init=False)
    used: npt.NDArray[np.bool_] = field(init=False)
    places: Ints = field(init=False)
    """(m, 2) canvases that some image touches above and some at the right; others could be smaller."""

    def __post_init__(self) -> None:
        self.areas = self.heights[:, None].astype(np.float64) * self.widths
        self.used = self.counts > 0
        touched = (np.cumsum(self.used, axis=1) > 0) & (np.cumsum(self.used, axis=0) > 0)
        self.places = np.argwhere(touched)

    def earnings(self, prices: Floats) -> Floats:
        """(m,) S of each place."""
        # The largest price in each rectangle from the origin: where it is below a canvas, nothing is earned.
        highest = np.maximum.accumulate(np.maximum.accumulate(prices, axis=0), axis=1)
        found = np.empty(len(self.places))
        for number, (row, column) in enumerate(self.places.tolist()):
            area = self.areas[row, column]
            first_row = np.searchsorted(highest[: row + 1, column], area, side="right")
            first_column = np.searchsorted(highest[row, : column + 1], area, side="right")
            block = np.s_[first_row : row + 1, first_column : column + 1]
            gains = prices[block] - area
            np.maximum(gains, 0, out=gains)
            found[number] = np.einsum("rc,rc->", gains, self.counts[block])
        return found

    def bound(self, prices: Floats) -> tuple[float, Floats]:
        """The bound, and (a, b) how often an image of each cell has no place less how often it has several."""
        found = self.earnings(prices)
        open_places = np.argpartition(-found, self.count)[: self.count]
        gains = np.where(self.used, np.maximum(prices - self.areas, 0), 0).reshape(-1)
        order = np.argsort(-gains, kind="stable")
        counts = self.counts.reshape(-1)[order]
        own = np.clip((self.own_images - (np.cumsum(counts) - counts)) / np.maximum(counts, 1), 0, 1) * (
            gains[order] > 0
        )
        missing = np.ones(gains.size)
        missing[order] -= own
        missing = missing.reshape(self.areas.shape)
        for row, column in self.places[open_places].tolist():
            missing[: row + 1, : column + 1] -= prices[: row + 1, : column + 1] > self.areas[row, column]
        pixels = (self.counts * prices).sum() - found[open_places].sum() - (own * counts * gains[order]).sum()
        return float(pixels), missing * self.used

    def ascend(self, prices: Floats, goal: float, iterations: int) -> tuple[float, Floats]:
        """The best bound found from these prices on, and its prices; ``goal`` is what it cannot exceed."""
        best, best_prices = -np.inf, prices
        direction: Floats | float = 0.0
        step, idle = 1.0, 0
        for _ in range(iterations):
            pixels, missing = self.bound(prices)
            if pixels > best + 1e-6 * goal:
                best, best_prices, idle = pixels, prices, 0
            else:
                idle += 1
            if idle == 12:
                prices, direction, step, idle = best_prices, 0.0, step * 0.7, 0
                continue
            direction = 0.6 * direction + 0.4 * missing
            length = float((self.counts * direction**2).sum())
            if step < 0.01 or length == 0:
                break
            prices = np.where(self.used, np.maximum(prices + step * (goal - pixels) / length * direction, 0), 0)
        return best, best_prices


def lower_bound(sizes: Sizes, count: int, grids: Sequence[tuple[int, int]]) -> list[dict[str, float]]:
    """Padding that any ``count`` canvases have at least, on finer and finer grids.

    Args:
        sizes: (N, 2).
        count: K.
        grids: edges a side, and iterations, of each; prices of one are where the next begins.
    """
    real = float(sizes.prod(axis=1).sum())
    own_images = int(OWN_SHARE * len(sizes))
    prices: Floats | None = None
    before: tuple[Ints, Ints] | None = None
    reports = []
    for edges, iterations in grids:
        began = time.perf_counter()
        heights, widths = (_log_edges(sizes[:, side], edges) for side in (0, 1))
        rows = np.searchsorted(heights, sizes[:, 0], side="right") - 1
        columns = np.searchsorted(widths, sizes[:, 1], side="right") - 1
        counts = np.bincount(rows * len(widths) + columns, minlength=len(heights) * len(widths))
        relaxed = Relaxed(counts.reshape(len(heights), -1).astype(float), heights, widths, count, own_images)
        rounded = SizeHistogram.of(np.stack([heights[rows], widths[columns]], axis=1))
        grid = canvas_search._Grid(rounded, heights, widths, canvas_search._Own(own_images, 0.0), None)
        choice = canvas_search._shake(grid, canvas_search._grow(grid, count)[-1])
        if prices is None or before is None:
            start = grid.cover(choice.places)[0]
        else:
            nearest = [
                np.abs(np.log(new[:, None] / old)).argmin(axis=1)
                for new, old in zip((heights, widths), before, strict=True)
            ]
            start = prices[np.ix_(*nearest)]
        _, prices = relaxed.ascend(np.where(relaxed.used, start, 0.0), choice.cost, iterations)
        pixels, _ = relaxed.bound(prices)
        before = heights, widths
        reports.append(
            {
                "grid": len(heights),
                "proven": 1 - real / pixels,
                "best_on_grid": 1 - real / choice.cost,
                "seconds": time.perf_counter() - began,
            }
        )
    return reports


def _log_edges(values: Ints, count: int) -> Ints:
    low, high = int(values.min()), int(values.max())
    return np.unique(np.floor(low * (high / low) ** (np.arange(count) / count)).astype(np.int64))


# Several images in one canvas: what it would give.


def slot_padding(sizes: Sizes, counts: Sequence[int], gap: int, max_slots: int) -> dict[int, float]:
    """Padding with K canvases that are cut into equal slots, ``gap`` pixels apart, one image in each.

    A canvas of H x W offers every grid of m x n slots where m n is at most ``max_slots`` and divides the batch, whose
    images are all in the same grid, so that none of its slots stays empty. ``max_slots`` of 1 is no packing at all,
    sought in the same way. Canvases are placed one by one where they save most, then each anew until nothing improves.
    """
    histogram = SizeHistogram.of(sizes, 8)
    grid = canvas_search._Grid(
        histogram,
        canvas_search._edges(histogram, 0),
        canvas_search._edges(histogram, 1),
        canvas_search._Own(int(OWN_SHARE * histogram.num_images), LAUNCH_PIXELS),
        None,
    )
    offers = _slot_offers(grid, gap, max_slots)
    images = grid.counts.reshape(-1)
    used = np.flatnonzero(images)
    offers = np.ascontiguousarray(offers[:, used])

    def evaluate(chosen: list[int]) -> tuple[Floats, Floats, float]:
        best = np.full(images.size, grid.missing)
        best[used] = offers[chosen].min(axis=0, initial=grid.missing)
        shares, cost = grid.share_on_canvases(best.reshape(grid.shape))
        return best[used], shares.reshape(-1)[used], cost

    def best_place(others: list[int], shares: Floats) -> int:
        best = evaluate(others)[0].astype(np.float32)
        weights = (images[used] * shares).astype(np.float32)
        costs = [np.minimum(offers[k : k + 256], best) @ weights for k in range(0, len(offers), 256)]
        return int(np.concatenate(costs).argmin())

    real = float(histogram.pixels.sum())
    chosen: list[int] = []
    shares = grid.share_on_canvases(grid.areas)[0].reshape(-1)[used]
    found = {}
    while len(chosen) < max(counts):
        chosen.append(best_place(chosen, shares))
        _, shares, cost = evaluate(chosen)
        for _ in range(12 if len(chosen) in counts else 1):
            before = cost
            for number in range(len(chosen)):
                others = chosen[:number] + chosen[number + 1 :]
                moved = [*others[:number], best_place(others, shares), *others[number:]]
                _, new_shares, new_cost = evaluate(moved)
                if new_cost < cost:
                    chosen, shares, cost = moved, new_shares, new_cost
            if cost > before * (1 - 1e-4):
                break
        if len(chosen) in counts:
            own = (images[used] * (1 - shares)).sum()
            found[len(chosen)] = 1 - real / (cost - own * LAUNCH_PIXELS)
    return found


def _slot_offers(grid: canvas_search._Grid, gap: int, max_slots: int) -> npt.NDArray[np.float32]:
    """(a b, a b) what an image of each cell costs on each canvas, in its smallest slot."""
    offers = np.full((*grid.shape, *grid.shape), grid.missing, dtype=np.float32)
    for down in range(1, max_slots + 1):
        rows = np.searchsorted(grid.heights, (grid.heights - (down - 1) * gap) // down, side="right")
        for across in range(1, max_slots // down + 1):
            if BATCH % (down * across):
                continue
            columns = np.searchsorted(grid.widths, (grid.widths - (across - 1) * gap) // across, side="right")
            for row, column in np.argwhere((rows[:, None] > 0) & (columns > 0)).tolist():
                covered = offers[row, column, : rows[row], : columns[column]]
                np.minimum(covered, grid.areas[row, column] / (down * across), out=covered)
    return offers.reshape(grid.areas.size, grid.areas.size)


def shelf_padding(sizes: Sizes, canvas: tuple[int, int], gap: int, pool: int) -> tuple[float, float]:
    """Padding and own share with the images of every pool on shelves of canvases of one size.

    Best fit, decreasing height (Coffman, Garey, Johnson, Tarjan 1980): from the highest image on, each stands on the
    shelf with the least room that is left beside the others, ``gap`` pixels apart; if none has room, on a new shelf,
    if need be of a new canvas. An image larger than the canvas has one of its own.
    """
    height, width = canvas
    fits = (sizes <= canvas).all(axis=1)
    own_pixels = int((-(-sizes[~fits] // 8) * 8).prod(axis=1).sum())
    num_canvases = 0
    for first in range(0, len(sizes), pool):
        members = sizes[first : first + pool][fits[first : first + pool]]
        room: list[int] = []  # width left on each shelf, all as high as any image to come
        below: list[int] = []  # height left in each canvas
        for high, wide in members[np.lexsort((-members[:, 1], -members[:, 0]))].tolist():
            best = min((left for left in room if left >= wide), default=None)
            if best is not None:
                room[room.index(best)] = best - wide - gap
                continue
            place = next((number for number, left in enumerate(below) if left >= high), None)
            if place is None:
                place = len(below)
                below.append(height)
            below[place] -= high + gap
            room.append(width - wide - gap)
        num_canvases += len(below)
    padded = num_canvases * height * width + own_pixels
    return float(1 - sizes.prod(axis=1).sum() / padded), float(1 - fits.mean())


def measure_packing(data: str, sizes: Sizes) -> Iterator[dict[str, object]]:
    """Slots and shelves on one collection."""
    counts = (8, 16, 32)
    for gap, slots in ((0, 1), *((gap, BATCH) for gap in GAPS)):
        for count, padding in slot_padding(sizes, counts, gap, slots).items():
            yield {"data": data, "way": f"slots, K={count}", "gap": gap, "most_in_one": slots, "padding": padding}
    part = sizes[:8192]
    tall, broad = (-(-np.quantile(part, 0.95, axis=0) // 8) * 8).astype(int).tolist()
    for canvas in {(1024, 1024): 0, (2048, 2048): 0, (tall, broad): 0}:
        for gap in GAPS:
            for pool in (BATCH, 1024):
                padding, own = shelf_padding(part, canvas, gap, pool)
                name = f"shelves, {canvas[0]}x{canvas[1]}"
                yield {"data": data, "way": name, "gap": gap, "pool": pool, "padding": padding, "own_share": own}


# The report.

COLUMNS = "  {:<20} {:>8} {:>7} {:>14} {:>9} {:>7} {:>8}  {}"


def describe_machine(options: argparse.Namespace) -> dict[str, str]:
    """Name hardware, versions and the command line."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": f"anysize {anysize.__version__}, NumPy {np.__version__}, Python {platform.python_version()}",
        "images": f"{options.images} of each synthetic collection, batches of {BATCH}, seed {options.seed}",
        "load": f"{os.getloadavg()[0]:.1f} before the start (0 on a quiet machine)",
    }


def title(data: str, sizes: Sizes) -> str:
    """One line on a collection, and what rounding alone costs."""
    area = sizes.prod(axis=1).mean()
    rounding = ", ".join(f"of {m}: {1 - area / (-(-sizes // m) * m).prod(axis=1).mean():.2%}" for m in (8, 32))
    height, width = sizes.mean(axis=0)
    return f"\n{data}: {len(sizes)} images, {height:.0f}x{width:.0f} on average; rounding up to multiples {rounding}"


def row(result: Result) -> str:
    """One way's line."""
    own = "" if result.own_share is None else f"{result.own_share:.1%}"
    return COLUMNS.format(
        result.way,
        f"{result.padding:.1%}",
        result.num_steps,
        f"{result.forwards:.2f}",
        result.num_canvases,
        own,
        f"{result.seconds:.1f}",
        result.verdict,
    ).rstrip()


NAMES = {
    "voc_like": "VOC-like",
    "imagenet_like": "ImageNet-like",
    "heterogeneous": "heterogeneous",
    "photos": "100 photos",
    "cats_dogs": "440 cats, dogs",
    "bridge_voc": "157 bridges",
    "water_voc": "180 satellite",
}

FIGURE_WAYS = {
    "to largest": "padded to the largest of all",
    "random": "random batches",
    "aspect groups": "aspect groups (torchvision)",
    "lhotse, area": "buckets of area (lhotse)",
    "mega-batches": "mega-batches (transformers)",
    "static 8": "8 static canvases",
    "static 16": "16 static canvases",
    "static 32": "32 static canvases",
    "free": "free canvases, one a step",
    "mixed, free": "free canvases, mixed steps",
}


def draw(results: Sequence[Result], path: Path) -> None:
    """A panel for each collection, a bar for each way; others grey, ours blue, targets orange."""
    collections = list(dict.fromkeys(result.data for result in results))
    found = {(result.data, result.way): result for result in results}
    left, panel, gap, line = 2.45, 1.28, 0.24, 0.27
    height = line * len(FIGURE_WAYS)
    figure = style.new_figure(left + len(collections) * (panel + gap) + 0.15, height + 1.35)
    style.add_heading(
        figure,
        "Padding: share of the computed pixels that belong to no image",
        f"batches of {BATCH}; static canvases with at most {OWN_SHARE:.0%} of the images on exact ones of their own; "
        "orange: target",
    )
    places = np.arange(len(FIGURE_WAYS))[::-1]
    for number, data in enumerate(collections):
        axes = style.add_axes(figure, left + number * (panel + gap), 0.12, panel, height)
        style.label(axes, NAMES[data])
        axes.set_xlim(0, 1.3)
        axes.set_ylim(-0.6, len(places) - 0.4)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks([])
        if number:
            axes.set_yticks([])
        else:
            style.set_tick_names(axes, "y", places, FIGURE_WAYS.values(), color=style.INK, fontsize=style.FONT)
        for place, way in zip(places, FIGURE_WAYS, strict=True):
            result = found[data, way]
            is_ours = way.startswith(("static", "free", "mixed"))
            axes.barh(place, result.padding, height=0.62, color=style.BLUE if is_ours else style.NEUTRAL)
            if result.target is not None:
                axes.plot([result.target] * 2, [place - 0.42, place + 0.42], color=style.ACCENT, linewidth=1.8)
            beside = max(result.padding, result.target or 0) + 0.04
            style.write(
                axes,
                beside,
                place,
                f"{result.padding:.0%}" if result.padding >= 0.095 else f"{result.padding:.1%}",
                fontsize=style.SMALL,
                va="center",
                color=style.INK if is_ours else style.MUTED,
            )
    style.save(figure, path)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Padding of ways to batch images of many sizes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--images", type=int, default=1_000_000, help="of each synthetic collection")
    add("--seed", type=int, default=0, help="of sizes and plans")
    add("--skip", nargs="*", default=[], choices=["best", "bound", "packing"], help="parts to leave out")
    add("--bound-grid", type=int, default=192, help="edges a side of the finest grid of the proven bound")
    add("--output", type=Path, metavar="PATH", help="also write PATH.txt, PATH.json and PATH.png")
    options = parser.parse_args()
    if options.images < 10 * BATCH:
        parser.error(f"--images is {options.images}; {10 * BATCH} or more are needed")
    return options


def main() -> None:
    """Run all parts; the text goes to standard output as it is made."""
    options = parse_options()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    machine = describe_machine(options)
    for name, value in machine.items():
        say(f"{name:<10} {value}")
    synthetic = {name: make(options.images, options.seed) for name, make in SYNTHETIC.items()}
    real = {name: real_sizes(name) for name in REAL}
    for name, sizes in real.items():
        if sizes is None:
            say(f"NO REAL DATA {name}: set ANYSIZE_TEST_DATA to the folder that holds it")
    collections = synthetic | {name: sizes for name, sizes in real.items() if sizes is not None}
    results: list[Result] = []
    for data, sizes in collections.items():
        say(title(data, sizes))
        say(COLUMNS.format("way", "padding", "steps", "forwards/step", "canvases", "own", "seconds", "").rstrip())
        for result in measure(data, sizes, options.seed):
            results.append(result)
            say(row(result))
    document: dict[str, object] = {"machine": machine, "results": [asdict(result) for result in results]}
    if "best" not in options.skip:
        document["best_known"] = say_best(synthetic, say)
    if "bound" not in options.skip:
        document["lower_bound"] = say_bound(synthetic, options.bound_grid, say)
    if "packing" not in options.skip:
        document["packing"] = say_packing(synthetic, say)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.with_suffix(".txt").write_text("\n".join(lines) + "\n")
        options.output.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
        draw(results, options.output.with_suffix(".png"))


def say_best(synthetic: dict[str, Sizes], say: Callable[[str], None]) -> list[dict[str, object]]:
    """The longer search, where targets are missed."""
    say("\nThe same search from other places, for longer (heterogeneous; padding of full batches)")
    found = []
    for count, starts, rounds in ((8, 12, 60), (16, 8, 40), (32, 4, 24)):
        shares = best_known(synthetic["heterogeneous"], count, starts, rounds)
        say(
            f"  K={count:<3} ours {shares['ours']:.2%}; {starts} starts, {rounds} rounds each: "
            f"best {shares['best']:.2%}, worst {shares['worst']:.2%}"
        )
        found.append({"data": "heterogeneous", "canvases": count, "starts": starts, "rounds": rounds, **shares})
    return found


def say_bound(synthetic: dict[str, Sizes], finest: int, say: Callable[[str], None]) -> list[dict[str, object]]:
    """The proven bound, on finer and finer grids: the coarser it is, the more rounding down gives away."""
    say("\nProven: no 8 canvases, with at most 5 % of the images on their own, have less padding (heterogeneous)")
    grids = [(edges, 400 if edges == 64 else 200) for edges in (64, 128, 256) if edges < finest]
    found = []
    for report in lower_bound(synthetic["heterogeneous"], 8, [*grids, (finest, 200)]):
        say(
            f"  grid of {report['grid']:.0f}x{report['grid']:.0f}: at least {report['proven']:.2%}; sizes and canvases "
            f"rounded down to it, {report['best_on_grid']:.2%} are reached ({report['seconds']:.0f} s)"
        )
        found.append({"data": "heterogeneous", "canvases": 8, **report})
    return found


def say_packing(synthetic: dict[str, Sizes], say: Callable[[str], None]) -> list[dict[str, object]]:
    """What several images in one canvas would give."""
    say("\nSeveral images in one canvas, gap pixels apart: simulated, the library cannot train on such canvases")
    found = []
    for data, sizes in synthetic.items():
        say(f"  {data}")
        for report in measure_packing(data, sizes):
            found.append(report)
            if "pool" in report:
                more = f"pools of {report['pool']}, {report['own_share']:.1%} own"
            else:
                more = f"up to {report['most_in_one']} in one"
            say(f"    {report['way']:<22} gap {report['gap']:>2}  {report['padding']:>6.1%}  {more}")
    return found


if __name__ == "__main__":
    main()
