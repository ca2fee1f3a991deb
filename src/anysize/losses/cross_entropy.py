"""Softmax cross-entropy."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged import RaggedBatch, RaggedGroup

__all__ = ["LossSum", "cross_entropy"]

_NO_LABEL = -100  # what torch ignores unless told otherwise


class LossSum(NamedTuple):
    """A loss before the division: add sums and counts over micro-batches and ranks, then divide once."""

    total: Tensor
    """Scalar: the sum over all targets that count; differentiable."""
    count: float  # type: ignore[assignment]  # hides tuple.count, of which a loss has no use
    """The number of targets that count, or the sum of their weights."""


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
    return LossSum(total, _count(logits, targets, ignore_index))


def _count(logits: Any, targets: Any, ignore_index: int) -> int:
    """How many targets count: real pixels whose label is not the one that is ignored."""
    if isinstance(targets, RaggedGroup):
        parts = zip(logits.parts, targets.parts, strict=True)
        return sum(_count(part, labels, ignore_index) for part, labels in parts)
    if isinstance(targets, RaggedBatch):
        return int(torch.count_nonzero((targets.canvas != ignore_index) & targets.mask))
    if isinstance(logits, RaggedBatch):
        return int(torch.count_nonzero((targets != ignore_index) & logits.mask.squeeze(1)))
    return int(torch.count_nonzero(targets != ignore_index))
