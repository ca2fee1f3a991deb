"""Where labels can stand without covering each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABEL_POINTS", "Place", "place_labels"]

LABEL_POINTS = 7.5  # the font size; what follows is its extent, a little generous
CHAR_POINTS, LINE_POINTS = 4.8, 11.5
MARK_POINTS = 5.0

Box = tuple[float, float, float, float]  # left, bottom, right, top


class Place(NamedTuple):
    """How a label hangs on its point: matplotlib's horizontal and vertical alignment."""

    ha: str
    va: str


# Left of the point first, above and below the top edge of its rectangle.
_CANDIDATES = (Place("right", "bottom"), Place("right", "top"), Place("left", "bottom"), Place("left", "top"))


def _box(point: NDArray[np.float64], place: Place, width: float, height: float) -> Box:
    left = point[0] - width if place.ha == "right" else point[0]
    bottom = point[1] if place.va == "bottom" else point[1] - height
    return float(left), float(bottom), float(left + width), float(bottom + height)


def _inside(box: Box, window: Sequence[float]) -> bool:
    return box[0] >= window[0] and box[1] >= window[1] and box[2] <= window[2] and box[3] <= window[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _marks(points: NDArray[np.float64], dots: float) -> list[Box]:
    """The boxes of the marks at the points, which no other point's label may cover."""
    half = MARK_POINTS / 2 * dots
    return [(float(x) - half, float(y) - half, float(x) + half, float(y) + half) for x, y in points]


def place_labels(
    points: NDArray[np.float64],
    names: Sequence[str],
    window: Sequence[float],
    dpi: float,
    *,
    avoid: NDArray[np.float64] | None = None,
) -> list[Place | None]:
    """Place the labels one after the other; None for one that finds no free place.

    Args:
        points: ``(K, 2)`` x and y of what is named, in display dots; the most important first.
        names: the K labels.
        window: left, bottom, right and top of the room, in display dots.
        dpi: dots an inch.
        avoid: ``(A, 2)`` other marks that no label may cover, in display dots.
    """
    dots = dpi / 72
    marks = _marks(points, dots)
    taken: list[Box] = [] if avoid is None else _marks(avoid, dots)
    places: list[Place | None] = []
    for index, (point, name) in enumerate(zip(points, names, strict=True)):
        others = taken + marks[:index] + marks[index + 1 :]
        found = None
        for place in _CANDIDATES:
            box = _box(point, place, CHAR_POINTS * dots * len(name), LINE_POINTS * dots)
            if _inside(box, window) and not any(_overlap(box, other) for other in others):
                found = place
                taken.append(box)
                break
        places.append(found)
    return places
