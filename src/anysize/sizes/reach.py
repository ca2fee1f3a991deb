"""Which pixels of the image each position of a map can see, along one axis.

Every operator that slides, pads, crops or resamples says which positions of its input each position of its output reads
(`Taps`); what an output can see is then the hull of what those can see. Computing it position by position, rather than
with one kernel and one stride for a whole network (Araujo, Norris, Sim 2019, "Computing Receptive Fields of
Convolutional Neural Networks", Distill), holds for upsampling, for branches that are joined, and at the border too.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from anysize.sizes.windows import Window

__all__ = [
    "NOWHERE",
    "Reach",
    "Taps",
    "cubic_taps",
    "linear_taps",
    "nearest_taps",
    "shifted_taps",
    "transposed_taps",
    "window_taps",
]

Taps = NDArray[np.int64]
"""(outputs, taps): positions of the input that each output reads; those outside it are padding and see nothing."""

NOWHERE = np.int64(1 << 40)
"""First pixel of a position that sees nothing; its last pixel is minus that."""


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """First and last pixel of the image, both counted, that each position of a map can see."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def image(cls, length: int) -> "Reach":
        """Return the reach of the image itself: each pixel sees itself."""
        return cls(np.arange(length), np.arange(length))

    def __len__(self) -> int:
        return len(self.first)

    def read(self, taps: Taps) -> "Reach":
        """Return the reach of an operator that reads these positions.

        >>> reach = Reach.image(6).read(window_taps(Window(kernel=3, stride=2, padding_before=1), 3))
        >>> reach.first.tolist(), reach.last.tolist()
        ([0, 1, 3], [1, 3, 5])
        """
        inside = (taps >= 0) & (taps < len(self))
        places = np.where(inside, taps, 0)
        first = np.where(inside, self.first[places], NOWHERE).min(axis=1)
        last = np.where(inside, self.last[places], -NOWHERE).max(axis=1)
        return Reach(first, last)

    def joined(self, other: "Reach") -> "Reach":
        """Return the hull of two maps of the same length, position by position."""
        return Reach(np.minimum(self.first, other.first), np.maximum(self.last, other.last))

    def middle_field(self, length: int) -> int | None:
        """Return the most pixels that a position in the middle sees of an image of ``length`` pixels.

        None where the border of the image cuts it off, or nothing is seen.
        """
        middle = self._middle()
        first, last = self.first[middle], self.last[middle]
        if (first <= 0).any() or (last >= length - 1).any():
            return None
        return int((last - first).max()) + 1

    def middle_stride(self) -> Fraction | None:
        """Return by how many pixels the field moves from a position in the middle to the next, on average.

        A map that is resampled to the very size of another may be off by a fraction of a pixel; this is rounded away.
        """
        middle = self._middle()
        centres = self.first[middle] + self.last[middle]
        if len(centres) < 2:
            return None
        exact = Fraction(int(centres[-1] - centres[0]), 2 * (len(centres) - 1))
        near = Fraction(round(exact)) if exact >= 1 else Fraction(1, max(1, round(1 / exact))) if exact > 0 else exact
        return near if abs(exact - near) <= near / 10 else exact

    def _middle(self) -> slice:
        """A quarter of the positions around the middle one, and two at the least."""
        half = max(1, len(self) // 8)
        return slice(max(0, len(self) // 2 - half), len(self) // 2 + half)


def window_taps(window: Window, count: int) -> Taps:
    """Return what a convolution or pool with ``count`` outputs reads."""
    starts = np.arange(count)[:, None] * window.stride - window.padding_before
    return starts + np.arange(window.kernel)[None] * window.dilation


def transposed_taps(window: Window, count: int) -> Taps:
    """Return what a transposed convolution with ``count`` outputs reads: those inputs whose window covers the output.

    >>> transposed_taps(Window(kernel=3, stride=2, padding_before=1), 4).tolist()
    [[-1, 0, -1], [1, -1, 0], [-1, 1, -1], [2, -1, 1]]
    """
    reached = np.arange(count)[:, None] + window.padding_before - np.arange(window.kernel)[None] * window.dilation
    return np.where(reached % window.stride == 0, reached // window.stride, -1)


def shifted_taps(start: int, count: int, step: int = 1) -> Taps:
    """Return the taps of a slice, or (start below 0) of padding: output ``j`` reads ``start + j * step``."""
    return (start + np.arange(count) * step)[:, None]


def nearest_taps(scale: Fraction, length: int, count: int, *, exact: bool = False) -> Taps:
    """Return what nearest-neighbour resampling reads; ``scale`` is input positions per output position.

    Args:
        scale: of the resampling.
        length: of the input.
        count: of outputs.
        exact: take the neighbour of the pixel's centre (``nearest-exact``), not of its edge.
    """
    outputs = np.arange(count)
    doubled = (2 * outputs + 1) if exact else 2 * outputs
    return np.minimum(doubled * scale.numerator // (2 * scale.denominator), length - 1)[:, None]


def linear_taps(scale: Fraction, length: int, count: int, *, align_corners: bool) -> Taps:
    """Return what (bi)linear resampling reads: two neighbours, or one where an output lies on it.

    >>> linear_taps(Fraction(1, 2), 3, 6, align_corners=False).tolist()
    [[0, 0], [0, 1], [0, 1], [1, 2], [1, 2], [2, 2]]
    """
    whole, rest = _sources(scale, length, count, align_corners)
    # Outputs beyond the centres of the first and last pixel repeat those.
    lower = np.where(whole < 0, 0, np.minimum(whole, length - 1))
    rest = np.where(whole < 0, 0, rest)
    return np.stack([lower, np.minimum(lower + (rest > 0), length - 1)], axis=1)


def cubic_taps(scale: Fraction, length: int, count: int, *, align_corners: bool) -> Taps:
    """Return what bicubic resampling reads: four neighbours, or one where an output lies on it."""
    whole, rest = _sources(scale, length, count, align_corners)
    taps = whole[:, None] + np.where(rest[:, None] > 0, np.arange(-1, 3)[None], 0)
    return np.clip(taps, 0, length - 1)


def _sources(scale: Fraction, length: int, count: int, align_corners: bool) -> tuple[NDArray[np.int64], ...]:
    """Where each output lies among the inputs: the whole part, and a rest that is 0 on a pixel's centre. Integers."""
    outputs = np.arange(count)
    if align_corners:
        above, below = outputs * (length - 1), max(count - 1, 1)
    else:  # (j + 1/2) * scale - 1/2
        above = (2 * outputs + 1) * scale.numerator - scale.denominator
        below = 2 * scale.denominator
    return above // below, above % below
