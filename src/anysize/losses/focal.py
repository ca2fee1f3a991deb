"""Focal loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from anysize.losses.cross_entropy import sum_of_weights
from anysize.losses.laying import Labels, Pair
from anysize.losses.registry import Loss, register_loss

__all__ = ["Focal"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class Focal(Loss):
    """Focal loss, summed over pixels (Lin et al. 2017, "Focal loss for dense object detection", section 3.2).

    A pixel of class t: ``-w_t (1 - p_t)^gamma log p_t``. The count is the sum of w_t, as of cross-entropy.
    """

    name = "focal"
    takes_labels = True
    takes_class_weights = True

    gamma: float = 2.0
    """How much less a pixel counts that is right already; 0 is cross-entropy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("gamma", "a number of at least 0", fits=self.gamma >= 0)

    def _total(self, pairs: Sequence[Pair]) -> Tensor:
        return torch.stack([self._of(pair) for pair in pairs]).sum()

    def _of(self, pair: Pair) -> Tensor:
        pixels, labels = pair.pixels, pair.pixel_labels
        if not pixels.numel():
            return pixels.sum()
        values = functional.cross_entropy(pixels, labels, reduction="none")  # -log p_t
        # A power below 1 has an infinite derivative at 0; the clamp stops the gradient there, where it tends to 0.
        missing = (-torch.expm1(-values)).clamp_min(torch.finfo(values.dtype).tiny)  # 1 - p_t
        values = missing**self.gamma * values
        weights = self._weights(pixels)
        return values.sum() if weights is None else (weights[labels] * values).sum()

    def _count(self, labels: Sequence[Labels]) -> float:
        return sum_of_weights(labels, self.class_weights)
