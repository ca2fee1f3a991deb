"""Soft Jaccard loss of all images that go through together."""

from dataclasses import dataclass

from anysize.losses.regions import RegionLoss
from anysize.losses.registry import register_loss

__all__ = ["BatchJaccard"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class BatchJaccard(RegionLoss):
    """As `Jaccard`, of all images of a batch as if they were one; the total is that times their number.

    It depends on what goes through together: a step in two passes is not that in one.
    """

    name = "batch_jaccard"
    together = True
    splits_exactly = False

    def _prices(self) -> tuple[float, float]:
        return 1.0, 1.0
