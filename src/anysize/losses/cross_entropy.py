"""Softmax cross-entropy."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

__all__ = ["LossSum", "cross_entropy"]


class LossSum(NamedTuple):
    """A loss before the division: add sums and counts over micro-batches and ranks, then divide once."""

    total: Tensor
    """Scalar: the sum over all targets that count; differentiable."""
    count: int  # type: ignore[assignment]  # hides tuple.count, of which a loss has no use
    """The number of targets that count."""


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> LossSum:
    """Sum the softmax cross-entropy of a batch of images.

    Args:
        logits: (N, K), before any softmax.
        targets: (N,) class indices.
        label_smoothing: share of the target spread over all classes (Szegedy et al. 2016, section 7).
    """
    total = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
    return LossSum(total, targets.numel())
