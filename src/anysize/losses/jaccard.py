"""Soft Jaccard loss of each image."""

from dataclasses import dataclass

from anysize.losses.regions import RegionLoss
from anysize.losses.registry import register_loss

__all__ = ["Jaccard"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class Jaccard(RegionLoss):
    """1 - Jaccard of each image: ``1 - sum p g / (sum p + sum g - sum p g)`` for each class over space, then the mean.

    The mean is over the classes that the image holds; the count is the number of images with a pixel that counts
    (Rahman and Wang 2016, "Optimizing intersection-over-union in deep neural networks for image segmentation").
    """

    name = "jaccard"

    def _prices(self) -> tuple[float, float]:
        return 1.0, 1.0
