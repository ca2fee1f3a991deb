"""Overfit a handful: what learns at all learns a few images by heart within some dozen steps."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anysize.doctor.learn.case import NO_CLASS, Case

__all__ = ["LEARNED_KAPPA", "Overfit", "agreement", "overfit", "set_top_lr"]

LEARNED_KAPPA = 0.4
"""Cohen's kappa of predictions and labels from which a handful counts as learned: "moderate agreement" (Landis and Koch
1977). A constant answer has 0 whatever the shares of the classes, where its accuracy may be 0.95."""
_SURE_KAPPA = 0.8  # nothing more to be seen: stop
_SURE_STEPS = 12  # rates that are too high often do well for some steps


@dataclass(frozen=True, kw_only=True)
class Overfit:
    """A short run on the samples of a case, all of them in each step."""

    losses: tuple[float, ...]
    """Of each step, before its update."""
    accuracy: float
    """Of the last step, over pixels (or images) that count."""
    mean_iou: float
    """Over the classes present; see `anysize.metrics`."""
    kappa: float
    """Cohen's kappa: the median of the last three steps, so that a single lucky one counts for nothing."""
    update_ratio: float
    """How large the first update is beside the weights: median over weight tensors of |change| / |weight|; about 0.001
    is usual, and at 1 nothing is left of what the weights were."""
    seconds: float
    predictions: Tensor
    """Of the last step, in the form of `Case.labels`."""
    cut_short: bool = False
    """Whether the clock ended it."""

    @property
    def learned(self) -> bool:
        """Whether the loss fell and predictions agree with the labels better than a constant answer."""
        return self.kappa >= LEARNED_KAPPA and self.losses[-1] < self.losses[0]

    @property
    def fall(self) -> float:
        """By how much the loss fell, of its start: 1 for all of it; negative where it rose or is not finite."""
        last = sorted(self.losses[-3:])[len(self.losses[-3:]) // 2]
        return (self.losses[0] - last) / max(abs(self.losses[0]), 1e-12) if math.isfinite(last) else -math.inf


def overfit(
    case: Case,
    *,
    steps: int,
    seconds: float,
    least: int = 5,
    at_most: float | None = None,
    lr: float | None = None,
    at_end: Callable[[], None] | None = None,
) -> Overfit:
    """Train on all samples at once, and put the model back.

    Args:
        case: what to train.
        steps: at most so many updates.
        seconds: stop after so long, once ``least`` steps are made.
        least: steps to be made, while the time is not out.
        at_most: seconds after which it ends in any case, with the step that runs then; by default ``seconds``.
        lr: the largest rate of the optimiser's groups; by default as it was made. The ratios of groups are kept.
        at_end: called with the trained model in place.
    """
    started = time.perf_counter()
    end = seconds if at_most is None else at_most
    losses: list[float] = []
    kappas: list[float] = []
    accuracy, mean_iou, ratio, over = 0.0, 0.0, 0.0, False
    predictions = torch.empty(0)
    with case.trial(train=True) as model:
        optimizer = case.make_optimizer(model)
        if lr is not None:
            set_top_lr(optimizer, lr)
        for step in range(steps):
            optimizer.zero_grad(set_to_none=True)
            logits = case.forward()
            value = case.value(logits)
            losses.append(float(value.detach()))
            predictions = case.predictions(logits)
            kappa, accuracy, mean_iou = agreement(case, predictions)
            kappas.append(kappa)
            elapsed = time.perf_counter() - started
            over = step + 1 < steps and (elapsed > end or (elapsed > seconds and step + 1 >= least))
            sure = step >= _SURE_STEPS and sorted(kappas[-3:])[1] >= _SURE_KAPPA
            if not math.isfinite(losses[-1]) or over or sure:
                break
            value.backward()  # type: ignore[no-untyped-call]
            before = _weights(model) if step == 0 else []
            optimizer.step()
            ratio = _ratio(before, _weights(model)) if step == 0 else ratio
        if at_end is not None and math.isfinite(losses[-1]):
            at_end()
    return Overfit(
        losses=tuple(losses),
        accuracy=accuracy,
        mean_iou=mean_iou,
        kappa=sorted(kappas[-3:])[len(kappas[-3:]) // 2],
        update_ratio=ratio,
        seconds=time.perf_counter() - started,
        predictions=predictions,
        cut_short=over,
    )


def _weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters() if p.requires_grad and p.dim() > 1]


def _ratio(before: list[Tensor], after: list[Tensor]) -> float:
    pairs = zip(before, after, strict=True)
    ratios = sorted(float((new - old).norm() / old.norm().clamp(min=1e-12)) for old, new in pairs)
    return ratios[len(ratios) // 2] if ratios else 0.0


def set_top_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Scale the rates of all groups so that the largest is ``lr``."""
    largest = max(float(group["lr"]) for group in optimizer.param_groups)
    for group in optimizer.param_groups:
        group["lr"] = lr * (float(group["lr"]) / largest if largest > 0 else 1.0)


def agreement(case: Case, predictions: Tensor) -> tuple[float, float, float]:
    """Return Cohen's kappa, accuracy and mean IoU of predictions and labels; classes in neither do not count."""
    predicted, labels = predictions.flatten(), case.labels.flatten()
    valid = labels != NO_CLASS
    num_classes = max(case.num_classes, 2)
    pairs = labels[valid] * num_classes + predicted[valid]
    counts = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).double().cpu()
    total = counts.sum().clamp(min=1)
    right, truth, answers = counts.diagonal(), counts.sum(1), counts.sum(0)
    observed = float(right.sum() / total)
    by_chance = float((truth * answers).sum() / total**2)
    union = truth + answers - right
    mean_iou = float((right[union > 0] / union[union > 0]).mean()) if bool((union > 0).any()) else 0.0
    kappa = (observed - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
    return kappa, observed, mean_iou
