"""Soft Dice loss of all images that go through together."""

from dataclasses import dataclass

from anysize.losses.regions import RegionLoss
from anysize.losses.registry import register_loss

__all__ = ["BatchDice"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class BatchDice(RegionLoss):
    """As `Dice`, of all images of a batch as if they were one; the total is that times their number.

    A class counts once, however many images hold it, and small regions are weighed against those of other images. So
    it depends on what goes through together: a step in two passes is not that in one.
    """

    name = "batch_dice"
    together = True
    splits_exactly = False

    def _prices(self) -> tuple[float, float]:
        return 0.5, 0.5
