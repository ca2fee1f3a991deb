"""What a pass is judged by: a network's output against its targets, as sums that add up over passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anysize.data.masks import IGNORED
from anysize.errors import TrainingError, UsageError
from anysize.loading import RawBatch
from anysize.losses import LossSum, Objective, sample_hardest
from anysize.losses.sampling import WHY_NO_CLASS_WEIGHTS
from anysize.ragged import RaggedBatch, RaggedGroup, together
from anysize.stepping.sums import StepSums

__all__ = ["Criterion", "Targets", "count_right", "targets_of"]

_STRIDE = 4

Targets = Tensor | RaggedBatch | RaggedGroup
"""Classes of images, (N,); or label maps, ragged as the images are."""


@dataclass(frozen=True)
class Criterion:
    """The loss of a run, and what of its outputs count.

    Args:
        objective: one loss, or a weighted sum of several.
        aux_weight: what the loss of an auxiliary head is multiplied by (Zhao et al. 2017, section 3.3: 0.4).
        hardest_share: only this share of each image's pixels counts, those with the largest cross-entropy (Shrivastava
            et al. 2016); 1 for all of them.

    Raises:
        UsageError: hard pixels are to be chosen, and the objective has several terms: their counts would be known only
            after the passes that are divided by them. Or its one term has class weights, or chooses hard pixels itself.
    """

    objective: Objective
    aux_weight: float = 0.4
    hardest_share: float = 1.0

    def __post_init__(self) -> None:
        if self.hardest_share < 1 and self.needs_counts:
            raise UsageError(
                f"the hardest pixels are chosen for one loss at a time, and this is a sum of "
                f"{len(self.objective.terms)}",
                hint="--loss ce with --sample-by hardest, or --sample-by random",
            )
        loss = self.objective.terms[0].loss
        if self.hardest_share < 1 and loss.takes_hardest:
            raise UsageError(
                f"the hardest pixels are chosen for {loss.name}, which takes the hardest of them itself: a share of a "
                "share would count",
                hint=f"--loss ce with --sample-by hardest, or --loss {loss.name} with --see whole",
            )
        if self.hardest_share < 1 and loss.class_weights is not None:
            raise UsageError(
                f"class weights were given, and {loss.name} of the hardest pixels cannot have them: "
                f"{WHY_NO_CLASS_WEIGHTS}",
                hint="leave out --class-weights, or --sample-by random",
            )

    @property
    def weights(self) -> tuple[float, ...]:
        """Of each term."""
        return tuple(term.weight for term in self.objective.terms)

    @property
    def needs_counts(self) -> bool:
        """Whether a pass can be sent backwards only when the counts of the whole step are known.

        A single term is divided at the end, by whatever was counted; terms with counts of their own share one gradient
        and must be divided before they are added.
        """
        return len(self.objective.terms) > 1

    def counts(self, targets: Targets) -> tuple[float, ...]:
        """What each term counts in these targets; additive over passes."""
        return self.objective.counts(targets)

    def sums(self, output: Any, targets: Targets) -> tuple[tuple[LossSum, ...], Any]:
        """Return each term's sum over a pass, with the auxiliary head's added, and the logits that count as answers.

        Args:
            output: logits, or a mapping with the logits ``out`` and those of an auxiliary head, ``aux``.
            targets: of the images of the pass.

        Raises:
            TrainingError: the output is neither.
        """
        logits, auxiliary = _heads(output)
        _check_logits(logits, targets)
        counted = targets
        if self.hardest_share < 1:
            counted = sample_hardest(logits, targets, self.hardest_share, IGNORED)
        sums = self.objective.sums(logits, counted)
        if auxiliary is not None and self.aux_weight:
            more = self.objective.sums(auxiliary, counted)
            sums = tuple(
                LossSum(term.total + self.aux_weight * aux.total, term.count)
                for term, aux in zip(sums, more, strict=True)
            )
        return sums, logits

    def judge(self, output: Any, targets: Targets, divisors: Sequence[float] | None) -> tuple[Tensor, StepSums]:
        """Return what to send backwards, and the sums of the pass.

        Args:
            output: what the network returned.
            targets: of the images of the pass.
            divisors: the counts of the whole step, where `needs_counts`; else None.
        """
        sums, logits = self.sums(output, targets)
        if divisors is None:  # a single term, which `train_step` divides when all of the step is counted
            loss = sums[0].total * self.weights[0]
        else:
            loss = self.objective.combined(sums, divisors)
        num_right, num_targets = count_right(logits, targets)
        return loss, StepSums(
            totals=tuple(float(term.total.detach()) for term in sums),
            counts=tuple(float(term.count) for term in sums),
            weights=self.weights,
            num_right=num_right,
            num_targets=num_targets,
        )


def targets_of(group: Sequence[RawBatch], device: torch.device) -> Targets:
    """Return the targets of what goes through the network at once, in the form of its output.

    Raises:
        TrainingError: the images have none.
    """
    if any(raw.targets is None for raw in group):
        raise TrainingError("training needs labels, and this data set has none")
    labels = [raw.labels(device) for raw in group]
    maps = [found for found in labels if isinstance(found, RaggedBatch)]
    if not maps:
        return torch.cat([found for found in labels if isinstance(found, Tensor)])
    return together(maps)


def count_right(logits: Any, targets: Targets) -> tuple[int, int]:
    """Count the targets whose class has the highest logit, and all targets that are not ignored.

    Of maps every fourth pixel along each axis is asked: it tells how training goes, and to look for the largest logit
    of all of them took an eighth of a step of DeepLab. Evaluation asks every pixel.
    """
    if isinstance(targets, RaggedGroup):
        counted = [count_right(*pair) for pair in zip(logits.parts, targets.parts, strict=True)]
        return sum(right for right, _ in counted), sum(every for _, every in counted)
    if not isinstance(targets, RaggedBatch):
        return int((logits.detach().argmax(dim=1) == targets).sum()), len(targets)
    labels, maps = targets.canvas, (logits.canvas if isinstance(logits, RaggedBatch) else logits).detach()
    height, width = (min(a, b) for a, b in zip(labels.shape[-2:], maps.shape[-2:], strict=True))
    rows, columns = slice(0, height, _STRIDE), slice(0, width, _STRIDE)
    labels = labels[:, rows, columns]
    counted_pixels = targets.mask.reshape(targets.canvas.shape)[:, rows, columns] & (labels != IGNORED)
    right = (maps[..., rows, columns].argmax(dim=1) == labels) & counted_pixels
    return int(right.sum()), int(counted_pixels.sum())


def _heads(output: Any) -> tuple[Any, Any]:
    """The logits that answer, and those of an auxiliary head or None."""
    if isinstance(output, Mapping) and "out" in output:
        return output["out"], output.get("aux")
    return output, None


def _check_logits(logits: object, targets: Targets) -> None:
    if isinstance(targets, Tensor):
        if isinstance(logits, RaggedBatch | RaggedGroup) or not isinstance(logits, Tensor) or logits.dim() != 2:
            raise TrainingError(
                f"the network returned {logits!r:.200}; a classifier must return one row of logits an image, "
                f"({len(targets)}, K)",
                hint="end the network with global pooling and flatten",
            )
    elif not isinstance(logits, RaggedBatch | RaggedGroup):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if not (isinstance(logits, Tensor) and logits.dim() == 4):
            raise TrainingError(
                f"the network returned {shape}; a segmenter must return maps of logits (N, K, H, W)",
                hint="take a network that answers each pixel (deeplabv3plus, unet, fcn8s)",
            )
