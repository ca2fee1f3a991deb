"""Why does it not learn? Try to, on a handful; and look for each cause by a small experiment."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from anysize.doctor.finding import Finding, most_severe_first
from anysize.doctor.learn.case import Case, Normalisation, Sample, build_case
from anysize.doctor.learn.gap import measure_gap
from anysize.doctor.learn.overfit import Overfit, overfit
from anysize.doctor.learn.pace import ENOUGH_STEPS, WHOLE_STEPS, with_fitting_window
from anysize.doctor.learn.probes import list_probes
from anysize.doctor.learn.rate import check_rate, is_suspicious, top_lr
from anysize.doctor.learn.report import Learned, LearningReport
from anysize.doctor.sweep import SweepResult
from anysize.doctor.untouched import untouched
from anysize.models.weights.published import PUBLISHED

__all__ = ["diagnose_learning"]

# Behind an error of these, nothing else can be asked: the pass itself fails, or targets are no targets.
_ENDS = {"labels", "outputs"}
_RUN_SHARE = 0.45  # of the time, for the overfit run; the sweep and its proof get what is left
_RUN_LONGEST = 0.8  # of the time, where that is what `ENOUGH_STEPS` take
_PACE_SHARE = 0.8  # of the time, that all steps are to fit into; the rest is for the probes


def diagnose_learning(
    model: nn.Module,
    samples: Sequence[Sample],
    loss: Any,
    *,
    num_classes: int,
    ignore_label: int | None = 255,
    optimizer_factory: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    lr: float = 1e-3,
    normalisation: Normalisation | None = None,
    expected_normalisation: Normalisation | None = None,
    pretrained: str | None = None,
    batch_norm_frozen: bool | Collection[str] = False,
    batch_size: int | None = None,
    seconds: float = 60.0,
    steps: int = 60,
    max_side: int = 256,
    min_side: int = 1,
    progress: Callable[[str], None] | None = None,
) -> LearningReport:
    """Try to learn a handful of samples by heart, and say what stands in the way.

    The model ends as it was: parameters, buffers, gradients, training flags, random numbers.

    Args:
        model: any module that gives logits (N, K, H, W) of images (N, C, H, W), or (N, K) where targets are classes of
            images; a mapping with ``out`` is fine. Hand it over in training mode as your loop puts it
            (``model.train()``, then layers you freeze); one in evaluation mode gets ``.train()``.
        samples: some four pairs of an image (C, H, W), float, normalised as for training, and its target: a mask
            (H, W) of class indices, one-hot (K, H, W), or one class. Of any sizes: windows of one common size are cut.
        loss: of (logits, targets): a tensor, or (sum, count); or an objective of `anysize.losses`.
        num_classes: K, without the ignored label; 1 for one logit a pixel and a sigmoid in the loss.
        ignore_label: target that does not count; None for none.
        optimizer_factory: builds your optimiser for a model, rates and groups included; by default AdamW with ``lr``.
        lr: for the default optimiser.
        normalisation: mean and std a channel, in 0..255, that the images were normalised with.
        expected_normalisation: the same that the weights were trained with.
        pretrained: a name of `anysize.models.weights.published` instead of that.
        batch_norm_frozen: whether batch normalisation is meant to keep its running statistics: all layers, or those of
            these names (`model.named_modules()`).
        batch_size: images of a real training step.
        seconds: the longest that it may take; it ends with the probe or the update that runs when they are out, and
            takes less where updates are fast. The verdict follows from numbers of updates: where too few fit into the
            time there is none (`LearningReport.too_slow`).
        steps: at most so many updates of the overfit run.
        max_side: windows of at most so many pixels a side; smaller ones, of 160 or 128, where updates are slow.
        min_side: no smaller than this: what the network requires.
        progress: called with what is being done.

    Raises:
        UsageError: no samples, or an image and a mask of other sizes.
    """
    started = time.perf_counter()
    say = progress or (lambda _: None)
    if pretrained in PUBLISHED and expected_normalisation is None:
        expected_normalisation = (PUBLISHED[pretrained].mean, PUBLISHED[pretrained].std)

    def build(side: int) -> Case:
        return build_case(
            model,
            samples,
            loss,
            optimizer_factory or (lambda model: _adamw(model, lr)),
            num_classes=num_classes,
            ignore_label=ignore_label,
            max_side=side,
            normalisation=normalisation,
            expected=expected_normalisation,
            batch_norm_frozen=batch_norm_frozen,
            batch_size=batch_size,
        )

    case = with_fitting_window(build, max_side, min_side=min_side, seconds=_PACE_SHARE * seconds)
    with untouched(model):
        course = _Course(case, started, seconds, say)
        if course.look():
            course.attempt(steps)
    return course.report()


def _adamw(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


@dataclass
class _Course:
    """A diagnosis on its way."""

    case: Case
    started: float
    seconds: float
    say: Callable[[str], None]
    findings: list[Finding] = field(default_factory=list)
    run: Overfit | None = None
    sweep: SweepResult | None = None
    too_slow: bool = False

    @property
    def left(self) -> float:
        """Seconds until the time is out."""
        return self.seconds - (time.perf_counter() - self.started)

    @property
    def _has_error(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def look(self) -> bool:
        """Run the probes; returns whether a training run can be tried."""
        for name, probe in list_probes():
            if self.left <= 0:
                self.too_slow = not self._has_error
                return False
            self.say(f"looking at {name.replace('_', ' ')}")
            found = probe(self.case)
            self.findings += found
            errors = [finding for finding in found if finding.severity == "error"]
            if any(error.check in _ENDS or "fails" in error.found for error in errors):
                return False
        return not any(finding.severity == "error" and finding.check == "gradients" for finding in self.findings)

    def attempt(self, steps: int) -> None:
        """Overfit; where that fails without a known error, ask whether it is the learning rate."""
        self.say("learning the samples by heart")
        run = self.run = overfit(
            self.case,
            steps=steps,
            seconds=_RUN_SHARE * self.left,
            least=ENOUGH_STEPS,
            at_most=_RUN_LONGEST * self.left,
            at_end=lambda: self.findings.extend(measure_gap(self.case)),
        )
        self.case.figures["update_ratio"] = run.update_ratio
        self.too_slow = run.cut_short and len(run.losses) < ENOUGH_STEPS and not run.learned
        if self.too_slow or self._has_error or (run.learned and not is_suspicious(run)):
            return
        self.say("trying other learning rates")
        check = check_rate(self.case, run, self.left)
        self.sweep = check.sweep
        self.findings += check.findings
        self.too_slow = not (check.decided or run.learned)
        if not (check.findings or run.learned or self.too_slow):
            self.findings.append(_unexplained(run))

    def report(self) -> LearningReport:
        """What came of it."""
        case, run, nan = self.case, self.run, float("nan")
        trainable = any(parameter.requires_grad for parameter in case.model.parameters())
        case.figures["left_out"] = float(case.left_out)
        seconds = time.perf_counter() - self.started
        return LearningReport(
            learned=run is not None and run.learned,
            findings=tuple(most_severe_first(self.findings)),
            losses=() if run is None else run.losses,
            accuracy=nan if run is None else run.accuracy,
            mean_iou=nan if run is None else run.mean_iou,
            kappa=nan if run is None else run.kappa,
            lr=top_lr(case) if trainable else nan,
            size=(case.images.shape[2], case.images.shape[3]),
            num_samples=len(case.images),
            seconds=seconds,
            too_slow=self.too_slow,
            seconds_wanted=_wanted(run, seconds) if self.too_slow else self.seconds,
            figures=dict(case.figures),
            sweep=self.sweep,
            handful=()
            if run is None
            else tuple(
                Learned(sample=place, image=image, truth=truth, prediction=prediction)
                for place, image, truth, prediction in zip(
                    case.places, case.images, case.labels, run.predictions, strict=True
                )
            ),
        )


def _wanted(run: Overfit | None, seconds: float) -> float:
    """How long it would take, in the worst case, on a machine as busy as it was: a multiple of half a minute."""
    steps = 10.0 * seconds if run is None else run.seconds / len(run.losses) * WHOLE_STEPS / _PACE_SHARE
    return 30.0 * math.ceil(max(steps, 2 * seconds) / 30.0)


def _unexplained(run: Overfit) -> Finding:
    finite = math.isfinite(run.losses[-1])
    falls = finite and run.fall > 0.1
    return Finding(
        "overfit",
        "note" if falls else "warning",
        f"{len(run.losses)} steps went from a loss of {run.losses[0]:.3g} to {run.losses[-1]:.3g}, agreement with the "
        f"labels {run.kappa:.2f}; none of the known causes was found",
        "a handful learned by heart: agreement (Cohen's kappa) of 0.4 or more",
        "the loss falls: give it more time (seconds, steps)"
        if falls
        else "look at images and masks side by side; try a larger or simpler network, or seconds=300",
    )
