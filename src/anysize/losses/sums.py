"""What every loss returns: a sum and a count, apart."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["LossSum"]


class LossSum(NamedTuple):
    """A loss before the division: add sums and counts over micro-batches and ranks, then divide once."""

    total: Tensor
    """Scalar: the sum over all targets that count; differentiable."""
    count: float  # type: ignore[assignment]  # hides tuple.count, of which a loss has no use
    """The number of targets that count, or the sum of their weights."""
