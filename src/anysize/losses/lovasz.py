"""Lovász-softmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anysize.losses.laying import Labels, Pair
from anysize.losses.registry import Loss, register_loss

__all__ = ["Lovasz"]


@register_loss
@dataclass(frozen=True, kw_only=True)
class Lovasz(Loss):
    """Lovász-softmax of each image, mean over the classes that the image holds (Berman et al. 2018).

    The Lovász extension of 1 - Jaccard as a function of the set of wrong pixels, at the errors ``|g_c - p_c|``. The
    count is the number of images with a pixel that counts. Errors are sorted for each class that is present, so it
    takes longer than the other losses.
    """

    name = "lovasz"

    def _total(self, pairs: Sequence[Pair]) -> Tensor:
        return torch.stack([self._of(pair) for pair in pairs]).sum()

    def _of(self, pair: Pair) -> Tensor:
        pixels, labels = pair.pixels, pair.pixel_labels
        probabilities = torch.softmax(pixels, 1).movedim(1, 0).flatten(1)  # (K, M)
        total = probabilities[:, :0].sum()  # 0, which knows the logits
        presences = (pair.labels.class_counts > 0).cpu()
        numbers = list(pair.labels.num_counted)
        parts = torch.split(probabilities, numbers, 1), torch.split(labels.flatten(), numbers)
        # A loop: each image has a number of pixels of its own, and most hold few of the classes.
        for chances, truth, present in zip(*parts, presences, strict=True):
            if present.any():
                classes = present.nonzero()[:, 0].to(truth.device)  # (C,)
                total = total + _extension(chances[classes], truth == classes[:, None]).mean()
        return total

    def _count(self, labels: Sequence[Labels]) -> float:
        return float(sum(part.num_images for part in labels))


def _extension(probabilities: Tensor, is_class: Tensor) -> Tensor:
    """Return the Lovász extension of 1 - Jaccard for C classes, (C, M) each -> (C,)."""
    errors = torch.where(is_class, 1.0 - probabilities, probabilities)
    errors, order = errors.sort(dim=1, descending=True)
    truth = is_class.gather(1, order)
    size = truth.sum(1, keepdim=True)  # of the true region
    missed = truth.cumsum(1)
    union = (size + (~truth).cumsum(1)).to(errors.dtype)
    left = (size - missed).to(errors.dtype)
    # What the Jaccard loss grows by as one more pixel is wrong; in closed form, for differences of numbers near 1 have
    # few digits left: 1 / union where the pixel is of the class, else left / (union - 1) - left / union.
    growth = torch.where(truth, 1.0, left / (union - 1.0).clamp_min(1.0)) / union
    return (errors * growth).sum(1)
