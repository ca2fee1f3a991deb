"""How far soft regions agree with true ones: what Dice, Jaccard and Tversky losses have in common.

For class c of an image, over its pixels that count, with p_c the softmax and g_c 1 where c is true: the overlap
I = sum p_c g_c, false positives A = sum p_c (1 - g_c), false negatives B = sum (1 - p_c) g_c. The loss of the class is
``(alpha A + beta B) / (I + alpha A + beta B)``: 1 minus Dice with alpha = beta = 1/2, 1 minus Jaccard with 1.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from anysize.losses.laying import Labels, Pair, widened
from anysize.losses.registry import Loss

__all__ = ["RegionLoss"]


@dataclass(frozen=True, kw_only=True)
class RegionLoss(Loss):
    """Mean over the classes that are present, of each image or of all images together.

    A class that an image's truth does not hold has no term of its own: its overlap is 0 whatever is predicted. That it
    is predicted wrongly is paid for by the classes that are present, whose pixels it takes. No small number is added
    above or below: a class that is present has a pixel, so nothing is divided by 0.
    """

    together: ClassVar[bool] = False
    """Whether the regions are those of all images of the batch, as if they were one."""

    @abstractmethod
    def _prices(self) -> tuple[float, float]:
        """alpha and beta: what a false positive and a false negative cost."""

    def _total(self, pairs: Sequence[Pair]) -> Tensor:
        overlaps, predicted = (torch.cat(sums) for sums in zip(*map(_soft_sums, pairs), strict=True))  # (N, K)
        true = torch.cat([pair.labels.class_counts for pair in pairs])
        num_images = 1
        if self.together:
            overlaps, predicted, true = (sums.sum(0, keepdim=True) for sums in (overlaps, predicted, true))
            num_images = sum(pair.labels.num_images for pair in pairs)
        alpha, beta = self._prices()
        present = true > 0
        wrong = alpha * (predicted - overlaps) + beta * (true - overlaps)
        # An absent class is divided by 1: dividing by 0 would be NaN in the gradient even where it is not taken.
        losses = torch.where(present, wrong, 0.0) / torch.where(present, overlaps + wrong, 1.0)
        return (losses.sum(1) / present.sum(1).clamp_min(1)).sum() * num_images

    def _count(self, labels: Sequence[Labels]) -> float:
        return float(sum(part.num_images for part in labels))


def _soft_sums(pair: Pair) -> tuple[Tensor, Tensor]:
    """Return (N, K) each, over the pixels that count: the sums of p_c g_c, and of p_c."""
    sums = _SoftSums.apply(pair.logits, pair.labels.counted, pair.labels.indices)  # type: ignore[no-untyped-call]
    return sums[0], sums[1]


class _SoftSums(torch.autograd.Function):
    """Both sums of a softmax, keeping nothing but the probabilities: twice as fast as its parts (CPU, 21 classes)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, counted: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        filled = torch.where(counted[:, None], logits, 0.0)  # (N, K, P)
        probabilities = torch.softmax(widened(filled), dim=1)
        probabilities *= counted[:, None]  # finite numbers by 0 or 1
        true = probabilities.gather(1, indices[:, None])  # (N, 1, P)
        ctx.save_for_backward(probabilities, true, indices)
        ctx.dtype = logits.dtype
        return _by_class(probabilities, true, indices), probabilities.sum(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_overlap: Tensor, by_predicted: Tensor) -> tuple[Tensor, None, None]:
        probabilities, true, indices = ctx.saved_tensors
        # dL/dp_c is b_c + a_c g_c; through the softmax, p_c (dL/dp_c - sum_k p_k dL/dp_k). Where p is 0, so is all.
        own = true * by_overlap.gather(1, indices)[:, None]  # (N, 1, P): p_t a_t
        slopes = by_predicted[:, :, None]
        mean = (probabilities * slopes).sum(1, keepdim=True) + own
        gradient = (slopes - mean).mul_(probabilities)
        places = indices[:, None]
        gradient.scatter_(1, places, gradient.gather(1, places) + own)
        return gradient.to(ctx.dtype), None, None


def _by_class(probabilities: Tensor, true: Tensor, indices: Tensor) -> Tensor:
    """Sum the probabilities of the true classes (N, 1, P) for each class: (N, K)."""
    if true.device.type == "cpu":
        sums = true.new_zeros(probabilities.shape[:2], dtype=torch.float64)  # one after the other: digits are lost
        return sums.scatter_add_(1, indices, true[:, 0].double()).to(true.dtype)
    # Elsewhere they would be added in any order: a pass over all classes, and the same result each time.
    classes = torch.arange(probabilities.shape[1], device=true.device)[:, None]
    return torch.where(indices[:, None] == classes, true, 0.0).sum(2)
