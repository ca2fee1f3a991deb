"""Which images can change sides of the split so that no class loses its last one there."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anysize.data.problems import listed
from anysize.doctor.data.survey import Part, Survey

__all__ = ["moved"]

_MOST_SHOWN = 24
_WHERE = {
    "voc": " (their lines, in the lists of ImageSets/Segmentation)",
    "csv_masks": " (in the column split)",
    "csv_table": " (in the column split)",
}


def moved(survey: Survey, source: str, target: str, wanted: Sequence[int]) -> str:
    """How classes that only one part has come into the other one too: images that can go, named; else more images.

    Args:
        survey: the data, with a split of their own.
        source: the part that has the classes.
        target: the part that lacks them.
        wanted: the classes.
    """
    part = survey.part(source)
    rows, left = ([], list(wanted)) if part is None else _movable(_holds(part, len(survey.classes)), wanted)
    words = []
    if part is not None and rows:
        paths = listed([part.table.paths[row] for row in rows], _MOST_SHOWN)
        words.append(f"move from {_said(source)} to {_said(target)}{_WHERE.get(survey.layout, '')}: {paths}")
    if left:
        names = listed([survey.classes[index] for index in left], 24)
        words.append(
            f"label more images that hold {names} (moving those that there are would take a class out of "
            f"{_said(source)})"
        )
    return "; ".join(words)


def _said(part: str) -> str:
    return {"train": "training", "val": "validation"}[part]


def _holds(part: Part, num_classes: int) -> NDArray[np.bool_]:
    """(N, K): which image holds which class."""
    if part.census is not None:
        return np.asarray(part.census.counts > 0)
    labels = part.table.labels
    return np.zeros((0, num_classes), np.bool_) if labels is None else labels[:, None] == np.arange(num_classes)


def _movable(holds: NDArray[np.bool_], wanted: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows of ``holds`` (N, K) that bring the wanted classes and leave one image at least of each of theirs behind, and
    the classes for which there is none."""
    staying = holds.sum(axis=0)
    rows: list[int] = []
    left: list[int] = []
    for index in wanted:
        if holds[rows, index].any():
            continue
        free = holds[:, index] & (~holds | (staying >= 2)).all(axis=1)
        free[rows] = False
        if not free.any():
            left.append(index)
            continue
        rows.append(int(np.argmax(free)))
        staying = staying - holds[rows[-1]]
    return rows, left
