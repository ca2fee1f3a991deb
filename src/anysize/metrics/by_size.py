"""Results by image size: does a model fail on the large ones?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SizeBucket", "accuracy_by_size", "cut_by_area"]


@dataclass(frozen=True, slots=True)
class SizeBucket:
    """The images whose area lies between two bounds, both included."""

    smallest_area: int
    """Pixels."""
    largest_area: int
    """Pixels."""
    num_images: int
    num_right: int
    loss: float
    """Mean over the images."""

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return self.num_right / self.num_images


def cut_by_area(areas: NDArray[np.int64], max_buckets: int) -> list[NDArray[np.int64]]:
    """Cut images into buckets of about equal numbers by area; images of equal area share a bucket.

    Args:
        areas: (N,) pixels.
        max_buckets: at most so many buckets; fewer where there are few images or sizes.

    Returns:
        The positions of the images of each bucket, from small to large.
    """
    order = np.argsort(areas, kind="stable")
    sorted_areas = areas[order]
    buckets: list[NDArray[np.int64]] = []
    start = 0
    for number in range(1, max_buckets + 1):
        stop = round(len(areas) * number / max_buckets)
        if stop <= start:
            continue
        stop = int(np.searchsorted(sorted_areas, sorted_areas[stop - 1], side="right"))
        buckets.append(order[start:stop])
        start = stop
    return buckets


def accuracy_by_size(
    areas: NDArray[np.int64], right: NDArray[np.bool_], losses: NDArray[np.float64], max_buckets: int = 5
) -> list[SizeBucket]:
    """Cut images into buckets of about equal numbers by area; images of equal area share a bucket.

    Args:
        areas: (N,) pixels.
        right: (N,) whether the prediction was right.
        losses: (N,) loss of each image.
        max_buckets: at most so many buckets; fewer where there are few images or sizes.
    """
    return [
        SizeBucket(
            smallest_area=int(areas[chosen].min()),
            largest_area=int(areas[chosen].max()),
            num_images=len(chosen),
            num_right=int(right[chosen].sum()),
            loss=float(losses[chosen].mean()),
        )
        for chosen in cut_by_area(areas, max_buckets)
    ]
