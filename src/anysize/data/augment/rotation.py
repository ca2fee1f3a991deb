"""Rotation without a fill: a turned rectangle is cut to the largest upright one of the same aspect within it.

Others fill the corners of a rotated image and give the fill the ignore label. The loss then does not see it, but each
convolution and each BatchNorm does: its zeros are in the statistics. A batch of many sizes needs no fill at all, so
there is nothing that could be seen.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_SHARE", "Affine", "kept_share", "limited_angles", "rotated_map"]

LEAST_SHARE = 0.5
"""Of each side, what a rotation leaves at least; of an image twice as long as wide, 37 degrees leave less."""

_NO_ANGLE = 1e-9  # radians: what rounding leaves of none at all


class Affine(NamedTuple):
    """x' = a x + b y + c and y' = d x + e y + f; the center of the first pixel is at (0.5, 0.5)."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float


def kept_share(sides: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) share of each side that the largest upright rectangle within a turned one has.

    Seen from the cut, the rectangle of sides s h and s w is what turns. Its bounding box must lie within h x w, so
    s (w |cos| + h |sin|) <= w and s (w |sin| + h |cos|) <= h; the condition of the shorter side is the stricter one.

    Args:
        sides: (N, 2) heights and widths.
        angles: (N,) in radians.
    """
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    return np.asarray(shorter / (longer * np.abs(np.sin(angles)) + shorter * np.abs(np.cos(angles))))


def limited_angles(
    sides: NDArray[np.float64], angles: NDArray[np.float64], least_share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) the angles, made smaller where less than ``least_share`` (N,) of each side would be kept."""
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    # longer sin + shorter cos = shorter / share has its first solution here; where it has none, any angle will do.
    reach = np.minimum(shorter / (least_share * np.hypot(shorter, longer)), 1)
    largest = np.maximum(np.arctan2(longer, shorter) - np.arccos(reach), 0)
    largest = np.where(largest < _NO_ANGLE, 0, largest)
    fits = kept_share(sides, angles) >= least_share
    return np.where(fits, angles, np.copysign(np.minimum(np.abs(angles), largest), angles))


def rotated_map(
    source: tuple[float, float], whole: tuple[int, int], corner: tuple[int, int], angle: float, share: float
) -> Affine:
    """Where the pixels of a window lie in the box that was turned.

    Args:
        source: height and width of the box.
        whole: height and width of the resized cut, of which the window is a part.
        corner: top and left of the window in it.
        angle: by which the cut's axes are turned within the box, in radians.
        share: of the box' sides that the cut has.
    """
    (height, width), (sine, cosine) = source, (np.sin(angle), np.cos(angle))
    step_y, step_x = share * height / whole[0], share * width / whole[1]
    a, b, d, e = cosine * step_x, -sine * step_y, sine * step_x, cosine * step_y
    # The center of the cut is the center of the box.
    y, x = corner[0] - whole[0] / 2, corner[1] - whole[1] / 2
    return Affine(*map(float, (a, b, a * x + b * y + width / 2, d, e, d * x + e * y + height / 2)))
