"""The confusion matrix: counts of (truth, prediction), from which accuracies follow."""

import numpy as np
from numpy.typing import NDArray

from anysize.errors import UsageError

__all__ = ["ConfusionMatrix"]


class ConfusionMatrix:
    """Counts (K, K): rows are the truth, columns the prediction.

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

    @property
    def num_targets(self) -> int:
        """How many pairs were counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share of right predictions; NaN where nothing was counted."""
        return float(np.trace(self.counts)) / self.num_targets if self.num_targets else float("nan")

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class, the share of its images that were recognised (K,); NaN for a class without images."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class, the share of its predictions that were right (K,); NaN for a class never predicted."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=0))


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
