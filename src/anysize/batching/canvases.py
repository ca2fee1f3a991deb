"""A few canvases for images of many sizes: static shapes, which compile once, with least padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anysize.batching.canvas_search import search
from anysize.batching.histogram import SizeHistogram
from anysize.batching.limits import check_at_least_one, check_multiple, check_number, check_sizes, round_up
from anysize.batching.segments import Ints
from anysize.errors import PlanError

__all__ = ["LAUNCH_PIXELS", "OWN", "CanvasSet", "assign_canvases", "canvas_choices", "choose_canvases"]

OWN = -1
"""Where `CanvasSet.assign` says so, an image lies on a canvas of its own exact size."""


LAUNCH_PIXELS = 65_536
"""What a forward costs beside its pixels, in pixels, where nobody has measured it."""


@dataclass(frozen=True, slots=True)
class CanvasSet:
    """Canvases for all images, and the rule that says which images lie on canvases of their own instead.

    Made by `choose_canvases`, or from canvases of one's own, in any order: ``CanvasSet(((375, 500), (500, 375)))``.

    Attributes:
        canvases: (height, width) of each, by area, ascending.
        multiple_of: what the sizes of canvases, also of those of their own, are multiples of.
        own_above: an image whose canvas would have more than so many pixels beyond those of its own exact
            canvas gets that instead; None if only an image that fits on no canvas does.
        num_images: images that the canvases were chosen for.
        num_own: how many of them lie on canvases of their own.
        real_pixels: the sum of their areas.
        canvas_pixels: the sum of the areas of the canvases that they lie on.

    Raises:
        PlanError: a canvas is no pair of positive integers, or no multiple of ``multiple_of``.
    """

    canvases: tuple[tuple[int, int], ...]
    multiple_of: int = 1
    own_above: int | None = None
    num_images: int = 0
    num_own: int = 0
    real_pixels: int = 0
    canvas_pixels: int = 0

    def __post_init__(self) -> None:
        multiple_of = check_multiple(self.multiple_of)
        pairs: set[tuple[int, int]] = set()
        if len(self.canvases):
            pairs = {(height, width) for height, width in check_sizes(self.canvases).tolist()}
        for height, width in sorted(pairs):
            if height % multiple_of or width % multiple_of:
                raise PlanError(
                    f"a canvas is {height}x{width} (height x width); multiples of multiple_of={multiple_of} are needed"
                )
        ordered = tuple(sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair[0])))
        object.__setattr__(self, "canvases", ordered)
        object.__setattr__(self, "multiple_of", multiple_of)

    def __len__(self) -> int:
        return len(self.canvases)

    @property
    def padding_share(self) -> float:
        """Share of the canvas pixels that are padding, between 0 and 1, with every batch full."""
        return 1 - self.real_pixels / self.canvas_pixels if self.canvas_pixels else 0.0

    @property
    def own_share(self) -> float:
        """Share of the images that lie on canvases of their own."""
        return self.num_own / self.num_images if self.num_images else 0.0

    def sizes(self) -> Ints:
        """(K, 2) the canvases as an array."""
        return np.array(self.canvases, dtype=np.int64).reshape(-1, 2)

    def assign(self, sizes: npt.ArrayLike) -> Ints:
        """Which canvas each image lies on.

        Args:
            sizes: (N, 2) true height and width.

        Returns:
            (N,) the number of the smallest canvas that holds the image, or `OWN`.
        """
        return assign_canvases(check_sizes(sizes), self)


def choose_canvases(
    sizes: npt.ArrayLike | SizeHistogram,
    max_canvases: int,
    *,
    multiple_of: int = 8,
    own_share: float = 0.05,
    launch_pixels: float = LAUNCH_PIXELS,
    max_pixels: int | None = None,
) -> CanvasSet:
    """Choose at most ``max_canvases`` canvases on which the images have least padding.

    The result depends on the arguments alone: it is the same in every process, on every machine.

    Args:
        sizes: (N, 2) the (height, width) of each image in pixels, or a histogram of them.
        max_canvases: K, the number of static shapes.
        multiple_of: heights and widths are multiples of this; a histogram has its own.
        own_share: this share of the images at most, those that save most by it, gets canvases of their own
            exact size (rounded up to ``multiple_of``); 0 for none.
        launch_pixels: what a forward for one image costs beside its pixels, in pixels: an image gets a canvas
            of its own only where that saves more.
        max_pixels: no canvas has more; more images than ``own_share`` lie on canvases of their own where they fit
            on none for that. None for any number.

    Returns:
        The canvases; no more of them than help.

    Raises:
        PlanError: an argument is out of its range.
    """
    return canvas_choices(
        sizes,
        max_canvases,
        multiple_of=multiple_of,
        own_share=own_share,
        launch_pixels=launch_pixels,
        max_pixels=max_pixels,
    )[-1]


def canvas_choices(
    sizes: npt.ArrayLike | SizeHistogram,
    max_canvases: int,
    *,
    multiple_of: int = 8,
    own_share: float = 0.05,
    launch_pixels: float = LAUNCH_PIXELS,
    max_pixels: int | None = None,
) -> tuple[CanvasSet, ...]:
    """The choices for 1, 2, ... ``max_canvases`` canvases: what each further static shape saves.

    Arguments and errors as of `choose_canvases`; fewer choices where further canvases save nothing. The last
    one was sought longest.
    """
    max_canvases = check_at_least_one("max_canvases", max_canvases)
    if not check_number("own_share", own_share) <= 1:
        raise PlanError(f"own_share is {own_share}; a share of the images, from 0 to 1, is needed")
    launch_pixels = check_number("launch_pixels", launch_pixels)
    if max_pixels is not None:
        max_pixels = check_at_least_one("max_pixels", max_pixels)
    histogram = sizes if isinstance(sizes, SizeHistogram) else SizeHistogram.of(sizes, multiple_of)
    own_images = int(own_share * histogram.num_images)
    # Nothing saves more than all images on the largest canvas cost: a higher price, infinity too, means the same.
    height, width = histogram.sizes.max(axis=0).tolist()
    # It costs a pixel at least: with equal padding, images lie on common canvases.
    price = min(max(launch_pixels, 1.0), 2.0 * height * width * histogram.num_images)
    found = search(histogram, max_canvases, own_images, price, max_pixels)
    choices = [_settle(histogram, one.canvases, own_images, price, max_pixels) for one in found]
    best = choices[:1]
    for choice in choices[1:]:  # the search compares averages of many sizes; here is the exact account
        if choice.canvas_pixels + price * choice.num_own < best[-1].canvas_pixels + price * best[-1].num_own:
            best.append(choice)
    return tuple(best)


def _settle(
    histogram: SizeHistogram,
    canvases: Sequence[tuple[int, int]],
    own_images: int,
    own_price: float,
    max_pixels: int | None,
) -> CanvasSet:
    """Say which sizes lie where, shrink each canvas to what lies on it, and count."""
    chosen = CanvasSet(tuple(canvases), histogram.multiple_of)
    own_above = _own_above(histogram, assign_canvases(histogram.sizes, chosen), chosen, own_images, own_price)
    chosen = CanvasSet(chosen.canvases, histogram.multiple_of, own_above)
    where = assign_canvases(histogram.sizes, chosen)
    if int(histogram.counts[where == OWN].sum()) > own_images:
        # Sizes are taken whole, so the images of a size that no canvas holds may be too many: the last one
        # grows until it holds them.
        height, width = np.maximum(histogram.sizes[where == OWN].max(axis=0), chosen.canvases[-1]).tolist()
        if max_pixels is None or height * width <= max_pixels:
            larger = [*chosen.canvases[:-1], (height, width)]
            return _settle(histogram, larger, own_images, own_price, max_pixels)
    used = np.unique(where[where != OWN])
    tight = [tuple(histogram.sizes[where == number].max(axis=0).tolist()) for number in used]
    chosen = CanvasSet(tuple(tight), histogram.multiple_of, own_above)
    where = assign_canvases(histogram.sizes, chosen)
    areas = histogram.areas.copy()
    areas[where != OWN] = chosen.sizes().prod(axis=1)[where[where != OWN]]
    return CanvasSet(
        chosen.canvases,
        histogram.multiple_of,
        own_above,
        num_images=histogram.num_images,
        num_own=int(histogram.counts[where == OWN].sum()),
        real_pixels=round(float(histogram.pixels.sum())),
        canvas_pixels=round(float((areas * histogram.counts).sum())),
    )


def _own_above(
    histogram: SizeHistogram, where: Ints, chosen: CanvasSet, own_images: int, own_price: float
) -> int | None:
    """The bound above which a size saves so much on canvases of its own that it belongs to the few that may."""
    held = where != OWN
    left = own_images - int(histogram.counts[~held].sum())
    if not own_images or left <= 0:
        return None
    saved = chosen.sizes().prod(axis=1)[where[held]] - histogram.sizes[held].prod(axis=1)
    counts = histogram.counts[held]
    order = np.argsort(-saved, kind="stable")
    too_many = np.flatnonzero(np.cumsum(counts[order]) > left)
    bound = int(saved[order[too_many[0]]]) if len(too_many) else 0
    return max(bound, int(own_price))


def assign_canvases(sizes: Ints, chosen: CanvasSet) -> Ints:
    """`CanvasSet.assign` of sizes that are checked already."""
    if not len(chosen):
        return np.full(len(sizes), OWN)
    canvases = chosen.sizes()
    heights, widths = np.unique(canvases[:, 0]), np.unique(canvases[:, 1])
    # One row and one column more than there are edges: for images that are larger than every canvas.
    table = np.full((len(heights) + 1, len(widths) + 1), OWN)
    for number in reversed(range(len(canvases))):  # smaller ones overwrite larger ones
        rows = np.searchsorted(heights, canvases[number, 0])
        columns = np.searchsorted(widths, canvases[number, 1])
        table[: rows + 1, : columns + 1] = number
    where = table[_place(heights, sizes[:, 0]), _place(widths, sizes[:, 1])]
    if chosen.own_above is not None:
        own = round_up(sizes, chosen.multiple_of)
        beyond = np.append(canvases[:, 0] * canvases[:, 1], 0)[where] - own[:, 0] * own[:, 1]
        where[beyond > chosen.own_above] = OWN
    return where


def _place(edges: Ints, lengths: Ints) -> Ints:
    """The first of ascending ``edges`` that is at least each length; their number where none is."""
    # A table of all lengths up to the longest edge is several times faster than a binary search per image.
    longest = int(edges[-1])
    if longest > 1 << 20:
        return np.searchsorted(edges, lengths)
    table = np.searchsorted(edges, np.arange(longest + 2))
    return np.asarray(table[np.minimum(lengths, longest + 1)])
