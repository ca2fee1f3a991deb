"""Tversky loss of each image."""

from dataclasses import dataclass

from anysize.losses.regions import RegionLoss
from anysize.losses.registry import register_loss

__all__ = ["Tversky"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class Tversky(RegionLoss):
    """1 - Tversky index of each image (Salehi et al. 2017): false positives cost alpha, misses beta.

    For each class over space, ``1 - I / (I + alpha A + beta B)`` with the overlap I, the false positives A and the
    false negatives B; then the mean over the classes that the image holds. The count is the number of images with a
    pixel that counts.
    """

    name = "tversky"

    alpha: float = 0.3
    """The price of a false positive."""
    beta: float = 0.7
    """The price of a false negative."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("alpha", "a number of at least 0", fits=self.alpha >= 0)
        self._require("beta", "a number above 0", fits=self.beta > 0)

    def _prices(self) -> tuple[float, float]:
        return self.alpha, self.beta
