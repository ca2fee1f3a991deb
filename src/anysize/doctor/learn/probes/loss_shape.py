"""A loss that does not see a class: Dice over flattened pixels or over the wrong axes; or one of the wrong sign.

Black box: the loss is asked about made-up answers to a made-up mask of K classes, in which the last one is rare. A Dice
or Jaccard loss that is averaged over classes charges about 1/K for missing that class wholly; one that is summed over
all classes at once charges its share of the pixels, next to nothing.
"""

from typing import Any

import torch
from torch import Tensor

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case
from anysize.doctor.outputs import mean_loss

__all__ = ["ORDER", "probe"]

ORDER = 18
_SIDE = 96
_RARE_SIDE = 6  # the rare class is a square of this side: 0.4 % of the pixels
_BOUNDED = 1.02  # a bounded loss does not grow when wrong answers get surer
_SHARE = 0.3  # of the 1/K that a class is worth


def probe(case: Case) -> list[Finding]:
    """Ask the loss, and each term of a sum."""
    if not case.is_segmenter or case.is_one_hot or case.num_classes < 2:
        return []
    terms = [term.loss for term in case.loss.terms] if hasattr(case.loss, "terms") else [case.loss]
    for term in terms:
        if found := _ask(term, case):
            return [found]
    return []


def _ask(loss: Any, case: Case) -> Finding | None:
    num_classes = case.num_classes
    mask = _mask(num_classes).to(case.images.device)
    missed = torch.where(mask == num_classes - 1, 0, mask)
    try:
        with torch.no_grad():
            right, wrong, surer, without = (
                float(mean_loss(loss, _answers(labels, num_classes, strength), mask))
                for labels, strength in (
                    (mask, 10.0),
                    ((mask + 1) % num_classes, 10.0),
                    ((mask + 1) % num_classes, 20.0),
                    (missed, 10.0),
                )
            )
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        return None  # a loss of another kind: it has no opinion on such answers
    if not all(map(_is_finite, (right, wrong, surer, without))):
        return None
    if wrong <= right:
        return Finding(
            "loss-shape",
            "error",
            f"the loss is {wrong:.4g} for answers that are all wrong and {right:.4g} for right ones: it rewards errors",
            "a loss that falls as answers get better",
            "turn its sign; of a coefficient (Dice, IoU) take 1 - coefficient",
        )
    if surer > wrong + (_BOUNDED - 1) * abs(wrong - right) + 1e-6:
        return None
    charged = (without - right) / (wrong - right)
    rare = (_RARE_SIDE / _SIDE) ** 2
    case.figures["charge_for_a_missed_class"] = charged
    if charged >= _SHARE / num_classes or charged > 10 * rare:
        return None
    return Finding(
        "loss-shape",
        "error",
        f"the loss (bounded, such as Dice or Jaccard) charges {charged:.2%} for missing a class of {rare:.1%} of the "
        f"pixels wholly; it is taken over all classes and pixels at once, so rare classes do not count",
        f"about {1 / num_classes:.1%}: a coefficient for each class over space, then the mean over the classes",
        "sum over (N, H, W) or (H, W) only and keep the class axis before dividing; or --loss ce+dice "
        "(anysize.losses), or cross-entropy",
    )


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _mask(num_classes: int) -> Tensor:
    """(2, S, S): vertical stripes of all classes but the last one, which is a small square in each image."""
    columns = torch.arange(_SIDE) * (num_classes - 1) // _SIDE
    mask = columns.expand(2, _SIDE, _SIDE).clone()
    mask[:, :_RARE_SIDE, :_RARE_SIDE] = num_classes - 1
    return mask


def _answers(labels: Tensor, num_classes: int, strength: float) -> Tensor:
    """Logits that say so, (2, K, S, S)."""
    hot = torch.nn.functional.one_hot(labels, num_classes).movedim(-1, 1).float()
    return strength * (2 * hot - 1)
