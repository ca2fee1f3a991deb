"""The confusion matrix: counts of (truth, prediction), from which accuracies and overlaps follow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.coding import IGNORED
from anysize.errors import UsageError

__all__ = ["ConfusionMatrix", "iou_of", "map_counts", "mean_of"]

BINS = 256  # values of a uint8 map


class ConfusionMatrix:
    """Counts (K, K): rows are the truth, columns the prediction.

    All ratios come from the counts over the whole data set (Long et al., 2015, "Fully convolutional networks for
    semantic segmentation", section 5), never from means over images or batches. A class that occurs neither in the
    truth nor in the predictions has no IoU: it is NaN and left out of means, as in torchmetrics' `JaccardIndex`.
    A class that is predicted and absent from the truth has an overlap of 0 by the formula, and counts as 0 in
    `mean_iou` and `mean_dice`: to predict what is not there is a mistake. Its recall does not exist: `mean_accuracy`
    leaves it out, where torchmetrics' macro accuracy counts it as 0.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)

    def update(self, truth: NDArray[np.int64], prediction: NDArray[np.int64]) -> None:
        """Count pairs of class indices, two arrays (N,).

        Raises:
            UsageError: an index that is no class: it would be counted in another one's place.
        """
        num_classes = len(self.counts)
        for name, indices in (("truth", truth), ("prediction", prediction)):
            if len(indices) and not 0 <= indices.min() <= indices.max() < num_classes:
                raise UsageError(
                    f"the {name} holds class indices from {indices.min()} to {indices.max()}; they must lie in "
                    f"0..{num_classes - 1}"
                )
        flat = truth.astype(np.int64) * num_classes + prediction
        self.counts += np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)

    def update_map(self, truth: NDArray[np.uint8], prediction: NDArray[Any]) -> None:
        """Count the pixels of a label map, those with truth 255 excepted.

        Args:
            truth: (H, W) uint8, class indices and 255 for pixels to ignore.
            prediction: (H, W) class indices, of any integer type; what it holds under ignored pixels is not read.

        Raises:
            UsageError: the shapes differ, or a value is no class; nothing is counted then.
        """
        self.counts += map_counts(truth, prediction, len(self.counts))

    def add(self, other: "ConfusionMatrix") -> None:
        """Add the counts of `other`, of another part of the data.

        Raises:
            UsageError: the numbers of classes differ.
        """
        if len(other.counts) != len(self.counts):
            raise UsageError(
                f"a confusion matrix of {len(other.counts)} classes cannot be added to one of {len(self.counts)}"
            )
        self.counts += other.counts

    @property
    def num_targets(self) -> int:
        """How many pairs were counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share of right predictions (of segmentation: pixel accuracy); NaN where nothing was counted."""
        return float(np.trace(self.counts)) / self.num_targets if self.num_targets else float("nan")

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class, the share of its images or pixels that were recognised (K,); NaN for a class without any."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class, the share of its predictions that were right (K,); NaN for a class never predicted."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=0))

    @property
    def sums(self) -> NDArray[np.int64]:
        """(3, K): right predictions, truth and predictions of each class, all that overlaps need."""
        return np.stack([np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0)])

    @property
    def iou(self) -> NDArray[np.float64]:
        """Per class, intersection over union (K,), the Jaccard index; NaN where the class occurs nowhere."""
        return iou_of(self.sums)

    @property
    def dice(self) -> NDArray[np.float64]:
        """Per class, 2 x intersection / (truth + prediction) (K,), the F1 score; NaN where the class occurs nowhere."""
        right, truth, predicted = self.sums
        return _ratio(2 * right, truth + predicted)

    @property
    def mean_iou(self) -> float:
        """The mean of `iou` over the classes that occur; NaN where nothing was counted."""
        return mean_of(self.iou)

    @property
    def mean_dice(self) -> float:
        """The mean of `dice` over the classes that occur; NaN where nothing was counted."""
        return mean_of(self.dice)

    @property
    def mean_accuracy(self) -> float:
        """The mean of `recall` over the classes of the truth; NaN where nothing was counted."""
        return mean_of(self.recall)

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of `iou`, each class weighted by its share of the truth; NaN where nothing was counted."""
        truth = self.counts.sum(axis=1)
        return float((np.nan_to_num(self.iou) * truth).sum() / truth.sum()) if truth.any() else float("nan")


def map_counts(truth: NDArray[np.uint8], prediction: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """(K, K) counts of one label map; arguments and errors are those of `ConfusionMatrix.update_map`."""
    if num_classes > IGNORED:
        raise UsageError(
            f"there are {num_classes} classes; a label map holds at most {IGNORED}, for {IGNORED} means ignored"
        )
    if truth.shape != prediction.shape or truth.dtype != np.uint8 or prediction.dtype.kind not in "iu":
        raise UsageError(
            f"the truth is {truth.dtype} of shape {truth.shape}, the prediction {prediction.dtype} of shape "
            f"{prediction.shape}; uint8 and integers of one shape (H, W) are needed",
            hint="predict at the size of the mask; class indices are the argmax over the channels of the logits",
        )
    # One histogram of the pairs of bytes: whatever is out of range shows in it, and needs no pass of its own.
    pairs = truth.astype(np.uint16)
    pairs <<= 8
    pairs |= _as_bytes(prediction, truth, num_classes)
    found = np.bincount(pairs.ravel(), minlength=BINS * BINS).reshape(BINS, BINS)
    labels = np.flatnonzero(found.any(axis=1))
    wrong = labels[(labels >= num_classes) & (labels != IGNORED)]
    if len(wrong):
        raise _not_classes("truth", wrong, int(found[wrong].sum()), num_classes)
    counts = found[:num_classes]
    wrong = num_classes + np.flatnonzero(counts[:, num_classes:].any(axis=0))
    if len(wrong):
        raise _not_classes("prediction", wrong, int(counts[:, wrong].sum()), num_classes)
    return counts[:, :num_classes].astype(np.int64)


def _as_bytes(prediction: NDArray[Any], truth: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """The prediction as uint8, which must not wrap a value around to become a class."""
    if prediction.dtype == np.uint8 or not prediction.size:
        return prediction.astype(np.uint8)
    if not 0 <= prediction.min() <= prediction.max() < BINS:
        outside = (prediction < 0) | (prediction >= BINS)
        counted = outside & (truth != IGNORED)
        if counted.any():
            raise _not_classes("prediction", np.unique(prediction[counted]), int(counted.sum()), num_classes)
        prediction = np.where(outside, 0, prediction)
    return prediction.astype(np.uint8)


def _not_classes(name: str, values: NDArray[Any], num_pixels: int, num_classes: int) -> UsageError:
    shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
    hints = {
        "truth": (
            f"masks are to be read with what their values mean: --ignore-label {values[0]} if it marks pixels to ignore"
            if len(values) == 1
            else "masks are to be read with what their values mean: --ignore-label, --mask-values or --mask-palette"
        ),
        "prediction": f"take the argmax over the {num_classes} channels of the logits",
    }
    pixels = "1 pixel" if num_pixels == 1 else f"{num_pixels:,} pixels"
    return UsageError(
        f"the {name} holds {shown} in {pixels}; class indices must lie in 0..{num_classes - 1}"
        + (f", and {IGNORED} marks pixels to ignore" if name == "truth" else ""),
        hint=hints[name],
    )


def iou_of(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of (..., 3, K) sums as `ConfusionMatrix.sums` has them: (..., K), NaN for 0 / 0."""
    right, truth, predicted = np.moveaxis(sums, -2, 0)
    return _ratio(right, truth + predicted - right)


def mean_of(values: NDArray[np.float64]) -> float:
    """The mean of what is not NaN; NaN where that is nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
