"""Softmax cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.losses.laying import Labels, Pair
from anysize.losses.registry import Loss, register_loss
from anysize.losses.sums import LossSum
from anysize.ragged import RaggedBatch, RaggedGroup

__all__ = ["CrossEntropy", "cross_entropy", "sum_of_weights"]

_NO_LABEL = -100  # what torch ignores unless told otherwise


@register_loss
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy, summed over pixels.

    A pixel of class t: ``-w_t log p_t``; with label smoothing s, ``-(1 - s) w_t log p_t - s/K sum_c w_c log p_c``
    (Szegedy et al. 2016, section 7). The count is the sum of w_t, which torch's weighted mean divides by too.
    """

    name = "ce"
    takes_labels = True
    takes_class_weights = True
    takes_label_smoothing = True

    def _total(self, pairs: Sequence[Pair]) -> Tensor:
        return torch.stack([self._of(pair) for pair in pairs]).sum()

    def _of(self, pair: Pair) -> Tensor:
        pixels = pair.pixels
        if not pixels.numel():
            return pixels.sum()
        return functional.cross_entropy(
            pixels,
            pair.pixel_labels,
            self._weights(pixels),
            reduction="sum",
            ignore_index=_NO_LABEL,
            label_smoothing=self.label_smoothing,
        )

    def _count(self, labels: Sequence[Labels]) -> float:
        return sum_of_weights(labels, self.class_weights)


def sum_of_weights(labels: Sequence[Labels], class_weights: Sequence[float] | None) -> float:
    """Return the sum, over all targets that count, of the weight of their class, 1 without weights."""
    if class_weights is None:
        return float(sum(sum(part.num_counted) for part in labels))
    numbers = [int(number) for number in torch.stack([part.class_counts.sum(0) for part in labels]).sum(0)]
    return sum(number * weight for number, weight in zip(numbers, class_weights, strict=True))


def cross_entropy(
    logits: Any, targets: Any, *, label_smoothing: float = 0.0, ignore_label: int | None = None
) -> LossSum:
    """Sum the softmax cross-entropy of a batch of images, or of their pixels.

    Args:
        logits: (N, K), before any softmax; or maps (N, K, *spatial), a tensor, a ragged batch or a group.
        targets: class indices: (N,), or maps (N, *spatial); of ragged logits as `RaggedBatch.from_labels` lays them,
            at the same sizes.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
        ignore_label: the index of targets that do not count, such as 255 for the borders of objects.

    Raises:
        MixedSizesError: ragged targets of other sizes than the logits.
    """
    ignore_index = _NO_LABEL if ignore_label is None else ignore_label
    total = functional.cross_entropy(
        logits, targets, reduction="sum", ignore_index=ignore_index, label_smoothing=label_smoothing
    )
    return LossSum(total, _num_counted(logits, targets, ignore_index))


def _num_counted(logits: Any, targets: Any, ignore_index: int) -> int:
    """How many targets count: real pixels whose label is not the one that is ignored."""
    if isinstance(targets, RaggedGroup):
        parts = zip(logits.parts, targets.parts, strict=True)
        return sum(_num_counted(part, labels, ignore_index) for part, labels in parts)
    if isinstance(targets, RaggedBatch):
        return int(torch.count_nonzero((targets.canvas != ignore_index) & targets.mask))
    if isinstance(logits, RaggedBatch):
        return int(torch.count_nonzero((targets != ignore_index) & logits.mask.squeeze(1)))
    return int(torch.count_nonzero(targets != ignore_index))
