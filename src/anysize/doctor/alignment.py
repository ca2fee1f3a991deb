"""Whether a label mask lies on its image: borders between classes should run along edges of the image.

The image's edges (gradient of the brightness, equalised to ranks) are correlated with the borders of the mask at every
shift. Where both belong together there is a peak at no shift; a mask that was moved has its peak elsewhere, and one
that belongs to another image has none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_SHIFT", "ShiftEstimate", "alignment", "centre_score", "flip_scores", "own_score"]

MAX_SHIFT = 32
"""Pixels: the largest shift that is looked for, along each axis."""
_MIN_BORDER = 64  # border pixels; fewer say nothing
_SIGMA = 1.5  # pixels: borders are drawn by hand
_PEAK = 7  # pixels around the peak that are not noise
_MAX_SIDE = 1024

Floats = NDArray[np.float64]
_FLIPS: dict[str, Callable[[NDArray[np.generic]], NDArray[np.generic]]] = {
    "mirrored": lambda mask: mask[:, ::-1],
    "upside down": lambda mask: mask[::-1],
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    "transposed": lambda mask: mask.T,
    "transposed along the other diagonal": lambda mask: mask[::-1, ::-1].T,
    "turned left by a quarter": np.rot90,
    "turned right by a quarter": lambda mask: np.rot90(mask, -1),
}


@dataclass(frozen=True, kw_only=True)
class ShiftEstimate:
    """Where a mask fits its image best. Scores are in standard deviations over all shifts."""

    shift: tuple[int, int]
    """(dy, dx) in pixels: the mask lies so far down and to the right of where it belongs."""
    score: float
    """At that shift."""
    score_unshifted: float
    """At no shift: the largest within two pixels, for borders drawn by hand."""
    num_border: int
    """Border pixels of the mask."""
    surface: Floats
    """Scores at all shifts: (2 * reach + 1, 2 * reach + 1), no shift in the middle."""

    @property
    def is_clear(self) -> bool:
        """Whether there are borders enough to say anything."""
        return self.num_border >= _MIN_BORDER


def alignment(image: NDArray[np.generic], mask: NDArray[np.generic], *, max_shift: int = MAX_SHIFT) -> ShiftEstimate:
    """Estimate by how much a mask is moved against its image.

    Args:
        image: (H, W), (H, W, C) or (C, H, W) with C of 1, 3 or 4; any scale.
        mask: (H, W) class indices; 255 and other values that are no class count as a class of their own.
        max_shift: the largest shift that is looked for, in pixels; at most a quarter of the shorter side.

    A single image says little: its textures may have a chance peak. `anysize.doctor.pairing` adds up several.
    """
    edges, mask = _prepared(image, mask)
    borders = _borders(mask)
    surface = _scores(edges, borders, _reach(mask, max_shift))
    peak = np.unravel_index(int(np.argmax(surface)), surface.shape)
    middle = surface.shape[0] // 2
    return ShiftEstimate(
        shift=(int(peak[0]) - middle, int(peak[1]) - middle),
        score=float(surface[peak]),
        score_unshifted=centre_score(surface),
        num_border=int(borders.sum()),
        surface=surface,
    )


def own_score(image: NDArray[np.generic], mask: NDArray[np.generic], *, max_shift: int = MAX_SHIFT) -> float:
    """Return the score of a mask on an image at no shift, within two pixels; to compare pairs of one size."""
    edges, mask = _prepared(image, mask)
    return centre_score(_scores(edges, _borders(mask), _reach(mask, max_shift)))


def flip_scores(image: NDArray[np.generic], mask: NDArray[np.generic]) -> dict[str, float]:
    """Return the score at no shift of the mask mirrored, turned by half or, where the shape allows, otherwise."""
    edges, mask = _prepared(image, mask)
    flipped = {name: flip(mask) for name, flip in _FLIPS.items()}
    return {
        name: centre_score(_scores(edges, _borders(turned), _reach(mask, MAX_SHIFT)))
        for name, turned in flipped.items()
        if turned.shape == mask.shape
    }


def centre_score(surface: Floats) -> float:
    """Return the largest score within two pixels of no shift: borders are drawn by hand."""
    middle = surface.shape[0] // 2
    near = slice(max(middle - 2, 0), middle + 3)
    return float(surface[near, near].max())


def _prepared(image: NDArray[np.generic], mask: NDArray[np.generic]) -> tuple[Floats, NDArray[np.generic]]:
    """The edges of an image, and its mask; of large ones the middle."""
    top, left = (max(0, (side - _MAX_SIDE) // 2) for side in mask.shape)
    middle = (slice(top, top + _MAX_SIDE), slice(left, left + _MAX_SIDE))
    return _edges(_grey(image, mask.shape)[middle]), mask[middle]


def _reach(mask: NDArray[np.generic], max_shift: int) -> int:
    height, width = mask.shape
    return max(1, min(max_shift, min(int(height), int(width)) // 4))


def _grey(image: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if values.ndim == 3:
        values = values.mean(axis=0) if values.shape[1:] == shape else values.mean(axis=2)
    return values


def _edges(grey: Floats) -> Floats:
    """Gradient of the smoothed brightness, by rank in 0..1: no single strong edge outweighs the rest."""
    smooth = _blur(grey, _SIGMA)
    dy, dx = np.gradient(smooth) if min(grey.shape) > 1 else (np.zeros_like(grey), np.zeros_like(grey))
    strength = np.hypot(dy, dx)
    _, inverse = np.unique(np.round(strength, 9), return_inverse=True)
    ranks = np.cumsum(np.bincount(inverse.ravel())) / strength.size
    return ranks[inverse].reshape(grey.shape)


def _borders(mask: NDArray[np.generic]) -> Floats:
    """1 at the two pixels beside each change of class, and 0 elsewhere."""
    result = np.zeros(mask.shape)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    result[1:] += down
    result[:-1] += down
    result[:, 1:] += right
    result[:, :-1] += right
    return np.minimum(result, 1.0)


def _blur(values: Floats, sigma: float) -> Floats:
    reach = int(3 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(values, width, mode="edge")
        size = values.shape[axis]
        values = sum(w * np.take(padded, range(k, k + size), axis=axis) for k, w in enumerate(kernel))
    return values


def _scores(edges: Floats, borders: Floats, reach: int) -> Floats:
    """Mean edge rank under the borders for each shift, in standard deviations from the median over the shifts.

    Entry [reach + dy, reach + dx] undoes a shift of (dy, dx): the border of pixel p is laid on p - (dy, dx). Only
    borders that stay on the image count.
    """
    shape = tuple(_fast(size + reach) for size in edges.shape)
    spectrum = np.conj(np.fft.rfft2(borders, shape))

    def at_shifts(values: Floats) -> Floats:
        full = np.fft.irfft2(np.fft.rfft2(values, shape) * spectrum, shape)
        index = -np.arange(-reach, reach + 1)
        return np.asarray(full[np.ix_(index % shape[0], index % shape[1])])

    counts = at_shifts(np.ones_like(edges))
    means = at_shifts(edges) / np.maximum(counts, 1.0)
    means[counts < _MIN_BORDER / 4] = np.median(means)
    centred = means - np.median(means)
    noise = 1.4826 * float(np.median(np.abs(centred)))
    return centred / noise if noise > 1e-12 else np.zeros_like(centred)


def _fast(length: int) -> int:
    """The next length without prime factors above 5, for which Fourier transforms are fast."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
