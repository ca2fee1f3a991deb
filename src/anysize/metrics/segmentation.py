"""Scores of a segmenter over a data set: in all, per image and by image size."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anysize.errors import UsageError
from anysize.metrics.by_size import cut_by_area
from anysize.metrics.confusion import ConfusionMatrix, iou_of, mean_of

__all__ = ["ImageScore", "SegmentationBucket", "SegmentationScores"]

NUM_RESAMPLES = 400
MIN_RESAMPLED = 5  # images; fewer tell nothing of how they would vary


@dataclass(frozen=True, slots=True)
class ImageScore:
    """How one image was segmented."""

    index: int
    mean_iou: float
    """Over the classes in this image's truth; NaN where all of it is ignored. A class that is predicted and not there
    takes pixels from those that are, and lowers their IoU; counted as a 0 of its own, as over the data set, one stray
    pixel would weigh as much as an object that was missed."""
    accuracy: float
    """The share of the counted pixels that are right; NaN where all are ignored."""
    ignored_share: float
    """Of the image's pixels."""
    num_pixels: int
    """Ignored ones included."""


@dataclass(frozen=True, slots=True)
class SegmentationBucket:
    """The images whose area lies between two bounds, both included; scores come from their summed counts."""

    smallest_area: int
    """Pixels."""
    largest_area: int
    """Pixels."""
    num_images: int
    num_pixels: int
    """Counted ones."""
    mean_iou: float
    """Over the classes that occur in the bucket; NaN where all its pixels are ignored."""
    mean_iou_low: float
    """The lower end of a 95 % interval by resampling the bucket's images (percentile bootstrap; Efron & Tibshirani,
    1993, section 13.3); NaN below five images."""
    mean_iou_high: float
    """The upper end."""
    accuracy: float


class SegmentationScores:
    """One confusion matrix over the data set, and three counts per image and class.

    Args:
        num_classes: K, at most 255.
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion = ConfusionMatrix(num_classes)
        self._sums: dict[int, NDArray[np.int64]] = {}
        self._num_pixels: dict[int, int] = {}

    def update(self, index: int, truth: NDArray[np.uint8], prediction: NDArray[Any]) -> None:
        """Count one image.

        Args:
            index: its place in the data set; images may come in any order.
            truth: (H, W) uint8, class indices and 255 for pixels to ignore.
            prediction: (H, W) class indices; what it holds under ignored pixels is not read.

        Raises:
            UsageError: the image was counted before, the shapes differ, or a value is no class.
        """
        if index in self._sums:
            raise UsageError(f"image {index} was counted before; every image counts once")
        one = ConfusionMatrix(len(self.confusion.counts))
        one.update_map(truth, prediction)
        self.confusion.add(one)
        self._sums[index] = one.sums
        self._num_pixels[index] = truth.size

    def add(self, other: "SegmentationScores") -> None:
        """Add the images of `other`, counted by another worker.

        Raises:
            UsageError: the numbers of classes differ, or an image is in both.
        """
        both = sorted(self._sums.keys() & other._sums.keys())
        if both:
            raise UsageError(f"image {both[0]} is in both parts, as are {len(both) - 1} more; every image counts once")
        self.confusion.add(other.confusion)
        self._sums.update(other._sums)
        self._num_pixels.update(other._num_pixels)

    @property
    def num_images(self) -> int:
        """How many images were counted."""
        return len(self._sums)

    @property
    def indices(self) -> NDArray[np.int64]:
        """(N,) the images' places in the data set, ascending: the order of the rows below."""
        return np.array(sorted(self._sums), dtype=np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N, 3, K): right pixels, truth and predictions of each class in each image, ignored pixels left out."""
        if not self._sums:
            return np.zeros((0, 3, len(self.confusion.counts)), dtype=np.int64)
        return np.stack([self._sums[index] for index in sorted(self._sums)])

    def per_image(self) -> list[ImageScore]:
        """The score of each image, by index."""
        rows = []
        for index in sorted(self._sums):
            sums, num_pixels = self._sums[index], self._num_pixels[index]
            num_right, num_counted = int(sums[0].sum()), int(sums[1].sum())
            rows.append(
                ImageScore(
                    index=index,
                    mean_iou=mean_of(iou_of(sums)[sums[1] > 0]),
                    accuracy=num_right / num_counted if num_counted else math.nan,
                    ignored_share=1 - num_counted / num_pixels if num_pixels else 0.0,
                    num_pixels=num_pixels,
                )
            )
        return rows

    def by_size(self, areas: NDArray[np.int64] | None = None, max_buckets: int = 5) -> list[SegmentationBucket]:
        """Scores of buckets of about equal numbers of images; images of equal area share one.

        Args:
            areas: pixels of each image of the data set, looked up by index; None takes the area of the truth.
            max_buckets: at most so many buckets; fewer where there are few images or sizes.
        """
        indices, counts = self.indices, self.counts
        if areas is None:
            own = np.array([self._num_pixels[int(index)] for index in indices], dtype=np.int64)
        else:
            own = np.asarray(areas, dtype=np.int64)[indices]
        return [_bucket(own[chosen], counts[chosen]) for chosen in cut_by_area(own, max_buckets)]


def _bucket(areas: NDArray[np.int64], counts: NDArray[np.int64]) -> SegmentationBucket:
    sums = counts.sum(axis=0)
    num_pixels = int(sums[1].sum())
    low, high = _interval(counts)
    return SegmentationBucket(
        smallest_area=int(areas.min()),
        largest_area=int(areas.max()),
        num_images=len(areas),
        num_pixels=num_pixels,
        mean_iou=mean_of(iou_of(sums)),
        mean_iou_low=low,
        mean_iou_high=high,
        accuracy=int(sums[0].sum()) / num_pixels if num_pixels else math.nan,
    )


def _interval(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The middle 95 % of mean IoU over resampled images; pixels of one image are alike, and are no trials."""
    num_images = len(counts)
    if num_images < MIN_RESAMPLED:
        return math.nan, math.nan
    random = np.random.default_rng(0)  # the same figures for the same counts
    times = random.multinomial(num_images, np.full(num_images, 1 / num_images), size=NUM_RESAMPLES)
    # In float64, whose matrix product is fast, and exact up to 2^53 pixels.
    sums = times.astype(np.float64) @ counts.reshape(num_images, -1).astype(np.float64)
    overlaps = iou_of(sums.reshape(NUM_RESAMPLES, *counts.shape[1:]).astype(np.int64))
    means = [mean_of(row) for row in overlaps]
    if any(math.isnan(mean) for mean in means):
        return math.nan, math.nan
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
