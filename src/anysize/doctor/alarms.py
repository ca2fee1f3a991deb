"""Alarms during training: once an epoch, from plain numbers; each said once, and again only after it was over.

Thresholds, and why:

- collapse: 99.5 % of the predictions are one class, though less than 97 % of the labels are: no network that has seen
  anything does so, and a background of 97 % is not told from a good answer by this figure alone.
- never predicted: a class of at least 0.01 % of the labels without a single prediction for five epochs in a row.
- batch-norm gap: the same images cost twice as much in evaluation as in training mode, by 0.3 at least, in two epochs
  in a row: in the first epochs running statistics lag behind in any run.
- plateau: after three epochs no training loss is more than 2 % below that of the best constant answer, the entropy of
  the labels' shares (where they are known, else ln K). For losses other than cross-entropy, and where trained weights
  are the start: below the first epoch's, and validation agrees with the labels no better than a constant answer does
  (Cohen's kappa under 0.05): a run may begin with a loss so low that it hardly falls. A validation that agrees better
  is no plateau for any loss.
- non-finite: any loss that is NaN or infinite.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from anysize.doctor.finding import Finding

__all__ = ["Alarms"]

_COLLAPSE, _LABELS_COLLAPSED = 0.995, 0.97
_RARE = 1e-4
_MISSING_EPOCHS = 5
_GAP_FACTOR, _GAP_LEAST, _GAP_EPOCHS = 2.0, 0.3, 2
_PLATEAU_EPOCHS = 3
_PLATEAU_FALL = 0.02
_CONSTANT_KAPPA = 0.05
_SHOWN = 6


class Alarms:
    """What an epoch's figures say of a run; holds only counts, so that a checkpoint may keep it.

    Args:
        classes: class names in the order of the counts; or their number.
        loss_is_cross_entropy: whether losses are in nats a pixel (or image), so that they compare with an entropy.
        starts_trained: whether the run starts from weights that may know the task already.
    """

    def __init__(
        self, classes: Sequence[str] | int, *, loss_is_cross_entropy: bool = True, starts_trained: bool = False
    ) -> None:
        names = [f"class {k}" for k in range(classes)] if isinstance(classes, int) else list(classes)
        self._names = tuple(names)
        self._is_entropy = loss_is_cross_entropy and not starts_trained
        self._epochs = 0
        self._first_loss: float | None = None
        self._best_loss: float | None = None
        self._said: list[str] = []
        self._missing = [0] * len(names)
        self._gaps = 0

    def update(
        self,
        *,
        train_loss: float,
        val_loss: float | None = None,
        truth: Sequence[int] | None = None,
        predicted: Sequence[int] | None = None,
        num_right: int | None = None,
        same_train: float | None = None,
        same_eval: float | None = None,
        lr: float | None = None,
    ) -> list[Finding]:
        """Take the figures of an epoch; returns the alarms that begin with it, most severe first.

        Args:
            train_loss, val_loss: means over targets that count.
            truth: labels of each class in the validation data, K counts of pixels (or images).
            predicted: predictions of each class, where labels count.
            num_right: predictions that are those of the labels.
            same_train, same_eval: loss of the same images in training and in evaluation mode.
            lr: the learning rate of the epoch's end, for the wording.
        """
        self._epochs += 1
        if self._first_loss is None:
            self._first_loss = train_loss
        if math.isfinite(train_loss):
            self._best_loss = train_loss if self._best_loss is None else min(self._best_loss, train_loss)
        findings: dict[str, Finding] = {}
        for finding in (
            self._non_finite(train_loss, val_loss),
            self._collapse(truth, predicted),
            self._plateau(truth, _kappa(truth, predicted, num_right), lr),
            self._gap(same_train, same_eval),
            *self._never_predicted(truth, predicted),
        ):
            if finding is not None:
                findings[_key(finding)] = finding
        fresh = [finding for key, finding in findings.items() if key not in self._said]
        self._said = sorted(findings)  # what is over may be said again
        return fresh

    def state(self) -> dict[str, Any]:
        """Return what is remembered, as JSON takes it."""
        return {
            "epochs": self._epochs,
            "first_loss": _finite(self._first_loss),
            "best_loss": _finite(self._best_loss),
            "said": list(self._said),
            "missing": list(self._missing),
            "gaps": self._gaps,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._epochs = int(state["epochs"])
        self._first_loss, self._best_loss = state["first_loss"], state["best_loss"]
        self._said = list(state["said"])
        missing = [int(epochs) for epochs in state["missing"]]
        self._missing = missing if len(missing) == len(self._names) else [0] * len(self._names)
        self._gaps = int(state["gaps"])

    def _non_finite(self, train_loss: float, val_loss: float | None) -> Finding | None:
        for name, loss in (("training", train_loss), ("validation", val_loss)):
            if loss is not None and not math.isfinite(loss):
                return Finding(
                    "non-finite",
                    "error",
                    f"the {name} loss is {loss} in epoch {self._epochs}",
                    "a finite loss",
                    "a lower --lr, longer --warmup-epochs, or float32; `anysize doctor learn` looks for the cause",
                )
        return None

    def _collapse(self, truth: Sequence[int] | None, predicted: Sequence[int] | None) -> Finding | None:
        if truth is None or predicted is None or sum(predicted) <= 0 or sum(truth) <= 0:
            return None
        answers, labels = sum(predicted), sum(truth)
        largest = max(range(len(predicted)), key=lambda k: predicted[k])
        share, true_share = predicted[largest] / answers, truth[largest] / labels
        if share < _COLLAPSE or true_share >= _LABELS_COLLAPSED:
            return None
        return Finding(
            "collapse",
            "error",
            f"{share:.2%} of the predictions are {self._names[largest]!r}, which {true_share:.1%} of the labels are: "
            f"the network gives one answer to everything (epoch {self._epochs})",
            "predictions of several classes",
            "a lower --lr with warm-up, --class-weights balanced, or pretrained weights; "
            "`anysize doctor learn` looks for the cause",
        )

    def _plateau(self, truth: Sequence[int] | None, kappa: float | None, lr: float | None) -> Finding | None:
        if self._epochs < _PLATEAU_EPOCHS or self._best_loss is None or self._first_loss is None:
            return None
        # Where nobody knows what the validation says, only an entropy can tell.
        if (kappa is None and not self._is_entropy) or (kappa is not None and kappa >= _CONSTANT_KAPPA):
            return None
        # Once the loss has been lower, this cannot begin any more: the best loss is remembered.
        constant = _entropy(truth, len(self._names)) if self._is_entropy else self._first_loss
        if not math.isfinite(constant) or constant <= 0 or self._best_loss < constant * (1 - _PLATEAU_FALL):
            return None
        rate = "" if lr is None else f" at a learning rate of {lr:.2g}"
        what = "one constant answer would cost" if self._is_entropy else "the first epoch cost"
        return Finding(
            "plateau",
            "warning",
            f"after {self._epochs} epochs the training loss was never below {self._best_loss:.3g}{rate}; {what} "
            f"{constant:.3g}: nothing has been learned",
            "a loss that falls in the first epochs",
            "`anysize lr` shows the range of learning rates, `anysize doctor learn` looks for the cause",
        )

    def _gap(self, same_train: float | None, same_eval: float | None) -> Finding | None:
        if same_train is None or same_eval is None or not math.isfinite(same_train + same_eval):
            return None
        apart = same_eval > max(_GAP_FACTOR * same_train, same_train + _GAP_LEAST)
        self._gaps = self._gaps + 1 if apart else 0
        if self._gaps < _GAP_EPOCHS:
            return None
        return Finding(
            "batch-norm-gap",
            "warning",
            f"the same images have a loss of {same_train:.3g} in training mode and {same_eval:.3g} in evaluation, for "
            f"{self._gaps} epochs: batch normalisation's running statistics are not those of training",
            "about the same loss in both modes",
            "--batch-norm recalibrate or frozen; or more images a step",
        )

    def _never_predicted(self, truth: Sequence[int] | None, predicted: Sequence[int] | None) -> list[Finding]:
        if truth is None or predicted is None or sum(truth) <= 0:
            return []
        least = max(1.0, _RARE * sum(truth))
        for k in range(len(self._names)):
            is_missing = truth[k] >= least and predicted[k] == 0
            self._missing[k] = self._missing[k] + 1 if is_missing else 0
        missed = [k for k, epochs in enumerate(self._missing) if epochs >= _MISSING_EPOCHS]
        if not missed:
            return []
        shown = ", ".join(f"{self._names[k]!r} ({truth[k] / sum(truth):.2%})" for k in missed[:_SHOWN])
        more = f" and {len(missed) - _SHOWN} more" if len(missed) > _SHOWN else ""
        return [
            Finding(
                "never-predicted",
                "warning",
                f"not predicted once in {_MISSING_EPOCHS} epochs or more: {shown}{more} of the labels",
                "some predictions of every class that occurs",
                "--class-weights balanced, or --see patches --patches class, which look at rare classes more often",
            )
        ]


def _key(finding: Finding) -> str:
    return finding.check


def _kappa(truth: Sequence[int] | None, predicted: Sequence[int] | None, num_right: int | None) -> float | None:
    """Cohen's kappa of labels and predictions, 0 for a constant answer; None where it is not known."""
    if truth is None or predicted is None or num_right is None or sum(truth) <= 0 or sum(predicted) <= 0:
        return None
    total = sum(truth)
    by_chance = sum(a / total * (b / sum(predicted)) for a, b in zip(truth, predicted, strict=True))
    return 0.0 if by_chance >= 1 else (num_right / total - by_chance) / (1 - by_chance)


def _entropy(truth: Sequence[int] | None, num_classes: int) -> float:
    """The cross-entropy in nats of the best constant answer."""
    if truth is None or sum(truth) <= 0:
        return math.log(max(num_classes, 2))
    total = sum(truth)
    return -sum(count / total * math.log(count / total) for count in truth if count)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
