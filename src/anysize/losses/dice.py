"""Soft Dice loss of each image."""

from dataclasses import dataclass

from anysize.losses.regions import RegionLoss
from anysize.losses.registry import register_loss

__all__ = ["Dice"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class Dice(RegionLoss):
    """1 - Dice of each image: ``1 - 2 sum p g / (sum p + sum g)`` for each class over space.

    Then the mean over the classes that the image holds. The count is the number of images with a pixel that counts
    (Milletari et al. 2016, "V-Net"; with sums of p and g in place of those of their squares, as Drozdzal et
    al. 2016).
    """

    name = "dice"

    def _prices(self) -> tuple[float, float]:
        return 0.5, 0.5
