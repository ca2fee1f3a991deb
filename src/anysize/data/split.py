"""Drawing a validation part that has every class and every size in it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anysize.data.draws import uniform
from anysize.errors import UsageError

__all__ = ["keep_classes", "stratified_split"]


def stratified_split(labels: ArrayLike, sizes: ArrayLike, val_split: float, seed: int) -> NDArray[np.bool_]:
    """Draw the validation images: in each class one from each of k slices of the images sorted by area.

    k is the rounded share of the class, but a class of two or more images has at least one in both parts. A
    class of one image stays in training. A share of 0 draws none.

    Args:
        labels: (N,) class of each image.
        sizes: (N, 2) height and width.
        val_split: share of the images to draw, 0 <= val_split < 1.
        seed: the same seed draws the same images, on any machine.

    Returns:
        (N,) True for validation.

    Raises:
        UsageError: ``val_split`` is out of range.
    """
    if not 0 <= val_split < 1:
        raise UsageError(
            f"val_split is {val_split}; it must be at least 0 and below 1",
            hint="val_split=0.2 keeps a fifth of each class for validation",
        )
    label = np.asarray(labels, np.int64)
    areas = np.asarray(sizes, np.int64).reshape(-1, 2).prod(axis=1)
    drawn = np.zeros(len(label), np.bool_)
    if val_split == 0:
        return drawn
    for name in np.unique(label):
        members = np.flatnonzero(label == name)
        if len(members) < 2:
            continue
        by_area = members[np.argsort(areas[members], kind="stable")]
        drawn[by_area[_one_of_each_slice(len(members), val_split, seed, int(name))]] = True
    return drawn


def keep_classes(is_val: NDArray[np.bool_], present: NDArray[np.bool_], sizes: ArrayLike) -> NDArray[np.bool_]:
    """Exchange drawn images so that every class that there is has an image to train on.

    For each class that training lacks an image with it moves to training, the one that brings most such classes. In
    exchange the image of the nearest area goes to validation, of those without which training still has every class
    that it has; where there is none, validation has one image less.

    Args:
        is_val: (N,) True for the images drawn for validation.
        present: (N, K) whether an image holds pixels of a class.
        sizes: (N, 2) height and width.

    Returns:
        (N,) True for validation.
    """
    kept = is_val.copy()
    area = np.asarray(sizes, np.int64).reshape(-1, 2).prod(axis=1)
    moved = np.zeros(len(kept), np.bool_)
    there = present.any(axis=0)
    while True:
        held = np.count_nonzero(present[~kept], axis=0)
        missing = there & (held == 0)
        if not missing.any():
            return kept
        brings = present[:, missing].sum(axis=1)
        best = int(brings.argmax())  # in validation, as no training image has any of these
        kept[best], moved[best] = False, True
        held += present[best]
        free = np.flatnonzero(~kept & ~moved & ~present[:, held == 1].any(axis=1))
        if len(free):
            nearest = free[np.abs(area[free] - area[best]).argmin()]
            kept[nearest] = moved[nearest] = True


def _one_of_each_slice(count: int, share: float, seed: int, name: int) -> NDArray[np.int64]:
    """A position within each of k nearly equal slices of 0..count-1."""
    k = min(max(int(count * share + 0.5), 1), count - 1)
    edges = np.arange(k + 1, dtype=np.int64) * count // k
    widths = np.diff(edges)
    picked: NDArray[np.int64] = edges[:-1] + (uniform(seed, name, np.arange(k)) * widths).astype(np.int64)
    return picked
