"""What a plan can be made of: every argument is checked here, and refused with the fix in the message."""

import math
import operator
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from anysize.batching.segments import Ints
from anysize.errors import PlanError

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "blocks",
    "check_all",
    "check_at_least_one",
    "check_fits",
    "check_integer",
    "check_multiple",
    "check_number",
    "check_sizes",
    "round_up",
]

_BLOCK = 1 << 18  # rows: what is worked out of so many sizes stays in the processor's cache

MAX_SIDE = 2**20
"""The largest height or width that is accepted, in pixels: areas are below 2^42, and sums of millions exact."""

MAX_PIXELS = 2**62
"""A larger limit means no more than this."""


def check_sizes(sizes: npt.ArrayLike, *, first: int = 0, total: int | None = None) -> Ints:
    """Return sizes as an (N, 2) int64 array of (height, width).

    Args:
        sizes: (N, 2) integers.
        first: number of the first of these images, for messages; they may be a block of more.
        total: images in all.

    Raises:
        PlanError: it is empty, of another shape, not of integers, or a side is not between 1 and
            ``MAX_SIDE``.
    """
    array = _as_array(sizes)
    if array.size == 0:
        raise PlanError("there are no images: sizes is empty", hint="give one (height, width) for each image")
    if array.ndim != 2 or array.shape[1] != 2:
        raise PlanError(
            f"sizes have shape {array.shape}; (number of images, 2) is needed",
            hint="give one (height, width) for each image",
        )
    if array.dtype.kind not in "iu":
        raise PlanError(
            f"sizes are of type {array.dtype}; integers are needed",
            hint="heights and widths are whole pixels",
        )
    bad = np.flatnonzero(((array < 1) | (array > MAX_SIDE)).any(axis=1))
    if bad.size:
        height, width = array[bad[0]]
        raise PlanError(
            f"{_count(bad.size, 'image')} of {total or len(array)} cannot be: image {first + bad[0]} is "
            f"{height}x{width} (height x width); each side must be 1 to {MAX_SIDE} pixels",
            hint="leave such images out, or measure them again",
        )
    return array.astype(np.int64)


def _as_array(sizes: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(sizes)  # no subclass: a masked array would hide what is to be checked
    except ValueError:
        raise PlanError("sizes are not all pairs", hint="give one (height, width) for each image") from None


def check_all(sizes: npt.ArrayLike, max_pixels: int | None = None, multiple_of: int = 1) -> npt.NDArray[np.integer]:
    """Check sizes where they lie: nothing is copied, so a memory-mapped array of any length will do.

    Returns:
        (N, 2) the sizes, as they are if they are an array.

    Raises:
        PlanError: as `check_sizes` and, with ``max_pixels``, `check_fits`.
    """
    array = _as_array(sizes)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu" or not len(array):
        return check_sizes(array)
    for first, block in blocks(array):
        low, high = int(block.min()), int(block.max())
        if low < 1 or high > MAX_SIDE:
            check_sizes(block, first=first, total=len(array))
        # Most blocks are let through by their largest side alone.
        if max_pixels is not None and round_up(np.array(high), multiple_of) ** 2 > max_pixels:
            check_fits(block.astype(np.int64), max_pixels, multiple_of, first=first, total=len(array))
    return array


def blocks(array: npt.NDArray[np.integer]) -> Iterator[tuple[int, npt.NDArray[np.integer]]]:
    """The rows of a long array, part after part, each with the number of its first row."""
    for first in range(0, len(array), _BLOCK):
        yield first, array[first : first + _BLOCK]


def check_integer(name: str, value: SupportsIndex) -> int:
    """Return ``value`` as an int, or raise `PlanError`."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise PlanError(f"{name} is {value!r}; an integer is needed")


def check_at_least_one(name: str, value: SupportsIndex) -> int:
    """Return ``value`` as an int, or raise `PlanError` if it is no integer or less than 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise PlanError(f"{name} is {value!r}; an integer of at least 1 is needed") from None
    if number < 1 or isinstance(value, bool):
        raise PlanError(f"{name} is {value!r}; an integer of at least 1 is needed")
    return number


def check_multiple(multiple_of: SupportsIndex) -> int:
    """Return what canvas sides are multiples of as an int, or raise `PlanError`."""
    number = check_at_least_one("multiple_of", multiple_of)
    if number > MAX_SIDE:
        raise PlanError(f"multiple_of is {number}; at most {MAX_SIDE} is possible")
    return number


def check_number(name: str, value: object, *, least: float = 0.0, below: float = math.inf) -> float:
    """Return ``value`` as a float, or raise `PlanError` if it is no number from ``least`` to less than ``below``.

    Where nothing is said to be above it, infinity is allowed.
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if not (least <= number and (number < below or below == math.inf)):
        upper = "" if below == math.inf else f" and less than {below:g}"
        raise PlanError(f"{name} is {value!r}; a number of at least {least:g}{upper} is needed")
    return number


def round_up(sizes: Ints, multiple_of: int) -> Ints:
    """Heights and widths rounded up to multiples of ``multiple_of``: the same shape."""
    return -(-sizes // multiple_of) * multiple_of


def check_fits(sizes: Ints, max_pixels: int, multiple_of: int, *, first: int = 0, total: int | None = None) -> None:
    """Raise `PlanError` if the canvas of some image alone has more than ``max_pixels`` pixels.

    ``first`` and ``total`` as of `check_sizes`.
    """
    canvas_sizes = round_up(sizes, multiple_of)
    areas = canvas_sizes[:, 0] * canvas_sizes[:, 1]
    over = np.flatnonzero(areas > max_pixels)
    if not over.size:
        return
    largest = over[np.argmax(areas[over])]
    height, width = canvas_sizes[largest]
    side = _largest_side(sizes[over], max_pixels, multiple_of)
    shrink = f", or --max-side {side} so that all images fit in {max_pixels}" if side else ""
    raise PlanError(
        f"{_count(over.size, 'image')} of {total or len(sizes)} {'needs' if over.size == 1 else 'need'} more than "
        f"max_pixels={max_pixels}; the largest is image {first + largest}: its canvas alone is {height}x{width} "
        f"(height x width), {areas[largest]} pixels",
        hint=f"--max-pixels {areas[largest]}{shrink}",
    )


def _largest_side(sizes: Ints, max_pixels: int, multiple_of: int) -> int:
    """The longer side to shrink ``sizes`` to, aspects kept, for all canvases to fit; 0 if none does."""
    longer, shorter = sizes.max(axis=1), sizes.min(axis=1)
    fits, fails = 0, int(longer.max())
    while fails - fits > 1:
        side = (fits + fails) // 2
        # Rounded up: however a resize rounds the shorter side, it is no longer than this.
        shrunk = np.stack([np.minimum(longer, side), np.minimum(shorter, -(-shorter * side // longer))], axis=1)
        if (round_up(shrunk, multiple_of).prod(axis=1) <= max_pixels).all():
            fits = side
        else:
            fails = side
    return fits


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
