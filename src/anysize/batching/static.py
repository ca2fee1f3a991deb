"""Steps on a few static canvases: which images fill a batch together, and how ranks share a step."""

import numpy as np
import numpy.typing as npt

from anysize.batching.canvases import OWN, CanvasSet, assign_canvases
from anysize.batching.dealing import deal
from anysize.batching.forwards import Forwards
from anysize.batching.limits import round_up
from anysize.batching.noise import permutation
from anysize.batching.segments import Ints
from anysize.batching.sorting import stable_order

__all__ = ["Places", "divide_static_steps", "place_images", "static_steps"]


class Places:
    """The canvas that each image lies on: one of a few static ones, or one of its own exact size.

    Attributes:
        of: (N,) number of each image's canvas; those from ``num_static`` on are exact ones.
        canvases: (K + U, 2) height and width of each; the static ones by area, ascending.
        num_static: K.
        areas: (K + U,) pixels of each.
    """

    def __init__(self, of: Ints, canvases: Ints, num_static: int) -> None:
        self.of = of
        self.canvases = canvases
        self.num_static = num_static
        self.areas = canvases[:, 0] * canvases[:, 1]

    def move(self, images: Ints, canvas: int) -> None:
        """Lay these images on another canvas."""
        self.of[images] = canvas

    def containers(self) -> list[Ints]:
        """For each static canvas the other ones that hold it, by area, ascending."""
        static = self.canvases[: self.num_static]
        return [
            number + 1 + np.flatnonzero((static[number + 1 :] >= canvas).all(axis=1))
            for number, canvas in enumerate(static)
        ]


def place_images(sizes: Ints, chosen: CanvasSet) -> Places:
    """Lay each image on the smallest canvas that holds it, or on one of its own.

    Args:
        sizes: (N, 2) true height and width.
        chosen: the canvases and the rule for exact ones.
    """
    of = assign_canvases(sizes, chosen)
    own = np.flatnonzero(of == OWN)
    exact = round_up(sizes[own], chosen.multiple_of)
    span = int(exact[:, 1].max(initial=0)) + 1
    codes, number = np.unique(exact[:, 0] * span + exact[:, 1], return_inverse=True)
    of[own] = len(chosen) + number.reshape(-1)
    canvases = np.concatenate([chosen.sizes(), np.stack(np.divmod(codes, span), axis=1)])
    return Places(of, canvases, len(chosen))


def static_steps(places: Places, batch_size: int, launch_pixels: float, key: int | None) -> Ints:
    """Order images so that every ``batch_size`` of them make a step, most steps on a single canvas.

    What is left of a canvas when its full steps are filled, fewer than ``batch_size`` images, spills into the
    next larger canvas that holds it, where that costs less than a further forward. The leftovers that stay
    and the images with exact canvases fill the last steps, which lie on several canvases.

    Args:
        places: where images lie; those that spill are moved.
        batch_size: images in each step; the last one holds the rest.
        launch_pixels: what one more forward costs beside its pixels, in pixels.
        key: random stream; None for images in the given order.

    Returns:
        (N,) image numbers, step after step.
    """
    num_images = len(places.of)
    shuffled = np.arange(num_images, dtype=np.int64) if key is None else permutation(key, num_images)
    ordered = shuffled[stable_order(places.of[shuffled])]
    ends = np.cumsum(np.bincount(places.of, minlength=len(places.canvases)))
    containers = places.containers()
    spilled: list[list[Ints]] = [[] for _ in range(places.num_static)]
    full: list[Ints] = []
    left: list[Ints] = []
    for number in range(places.num_static):
        own = ordered[ends[number - 1] if number else 0 : ends[number]]
        members = np.concatenate([*spilled[number], own])
        whole = len(members) // batch_size * batch_size
        rest, members = members[: len(members) - whole], members[len(members) - whole :]
        full.append(members)
        larger = containers[number]
        if len(rest) and len(larger):
            target = int(larger[0])
            if len(rest) * int(places.areas[target] - places.areas[number]) <= launch_pixels:
                places.move(rest, target)
                spilled[target].append(rest)
                continue
        left.append(rest)
    exact = ordered[ends[places.num_static - 1] if places.num_static else 0 :]
    return np.concatenate([*full, *left, exact])


def divide_static_steps(
    images: Ints,
    lengths: Ints,
    places: Places,
    true_sizes: Ints,
    *,
    num_ranks: int,
    max_pixels: int | None,
    launch_pixels: float,
) -> Forwards:
    """Deal each step to the ranks, and cut what a rank got by canvas.

    Args:
        images: (N,) image numbers, step after step.
        lengths: (s,) images in each step; all but the last are equal.
        places: where each image lies.
        true_sizes: (N, 2) height and width.
        num_ranks: how many ranks.
        max_pixels: canvas pixels that one micro-batch may hold, or None for any number.
        launch_pixels: a rank's images of a static canvas move to a larger one that it has images on as well,
            where that costs no more pixels than this.
    """
    steps = np.repeat(np.arange(len(lengths)), lengths)
    on = places.of[images]
    rows = steps * num_ranks + deal(steps, on, places.areas, places.num_static, num_ranks)
    if places.num_static > 1:
        on = _merge(rows, on, places, len(lengths) * num_ranks, launch_pixels)
    heights, widths = true_sizes[images].T
    areas = heights * widths
    order = stable_order(rows, on, areas.max() - areas, heights.max() - heights)
    images, rows, on = images[order], rows[order], on[order]
    starts = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(on, prepend=-1) != 0))
    counts = np.diff(np.append(starts, len(images)))
    rows, on = rows[starts], on[starts]
    if max_pixels is not None:
        fit = np.maximum(max_pixels // places.areas[on], 1)
        pieces = -(-counts // fit)
        parent = np.repeat(np.arange(len(counts)), pieces)
        piece = np.arange(len(parent)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        # As even as can be, the fuller ones first: 5 images in 2 pieces are 3 and 2.
        counts = counts[parent] // pieces[parent] + (piece < counts[parent] % pieces[parent])
        rows, on = rows[parent], on[parent]
    return Forwards(images, counts, places.canvases[on], rows // num_ranks, rows % num_ranks)


def _merge(rows: Ints, on: Ints, places: Places, num_rows: int, launch_pixels: float) -> Ints:
    """Move small groups of images to larger canvases that their rank uses in the same step; canvas numbers (N,)."""
    num_static = places.num_static
    static = on < num_static
    cells = on[static] * num_rows + rows[static]
    counts = np.bincount(cells, minlength=num_rows * num_static).reshape(num_static, num_rows)
    goes_to = np.repeat(np.arange(num_static)[:, None], num_rows, axis=1)
    for number, larger in enumerate(places.containers()):
        waiting = counts[number] > 0
        for target in larger.tolist():
            extra = counts[number] * float(places.areas[target] - places.areas[number])
            moves: npt.NDArray[np.bool_] = waiting & (counts[target] > 0) & (extra <= launch_pixels)
            goes_to[number, moves] = target
            counts[target, moves] += counts[number, moves]
            counts[number, moves] = 0
            waiting &= ~moves
    everyone = np.arange(num_rows)
    for number in reversed(range(num_static)):  # what a group went to may have gone on itself
        goes_to[number] = goes_to[goes_to[number], everyone]
    merged = on.copy()
    merged[static] = goes_to[on[static], rows[static]]
    return merged
