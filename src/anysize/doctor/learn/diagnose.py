"""Why does it not learn? Try to, on a handful; and look for each cause by a small experiment."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from anysize.doctor.finding import Finding, most_severe_first
from anysize.doctor.learn.case import Case, Normalisation, Sample, build_case
from anysize.doctor.learn.gap import measure_gap
from anysize.doctor.learn.overfit import Overfit, overfit
from anysize.doctor.learn.probes import list_probes
from anysize.doctor.learn.rate import check_rate, is_suspicious, top_lr
from anysize.doctor.learn.report import LearningReport
from anysize.doctor.sweep import SweepResult
from anysize.doctor.untouched import untouched
from anysize.models.weights.published import PUBLISHED

__all__ = ["diagnose_learning"]

# Behind an error of these, nothing else can be asked: the pass itself fails, or targets are no targets.
_ENDS = {"labels", "outputs"}
_RUN_SHARE = 0.45  # of the time, for the overfit run; the sweep and its proof get what is left


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
    batch_norm_frozen: bool = False,
    batch_size: int | None = None,
    seconds: float = 60.0,
    steps: int = 60,
    max_side: int = 256,
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
        batch_norm_frozen: whether batch normalisation is meant to keep its running statistics.
        batch_size: images of a real training step.
        seconds: roughly how long it may take; half of it as a rule. Looking for pairs that do not belong together comes
            on top of it, a second or two.
        steps: at most so many updates of the overfit run.
        max_side: windows of at most so many pixels a side.
        progress: called with what is being done.

    Raises:
        UsageError: no samples, or an image and a mask of other sizes.
    """
    started = time.perf_counter()
    say = progress or (lambda _: None)
    if pretrained in PUBLISHED and expected_normalisation is None:
        expected_normalisation = (PUBLISHED[pretrained].mean, PUBLISHED[pretrained].std)
    case = build_case(
        model,
        samples,
        loss,
        optimizer_factory or (lambda model: _adamw(model, lr)),
        num_classes=num_classes,
        ignore_label=ignore_label,
        max_side=max_side,
        normalisation=normalisation,
        expected=expected_normalisation,
        batch_norm_frozen=batch_norm_frozen,
        batch_size=batch_size,
    )
    with untouched(model):
        findings, can_run = _look(case, say)
        run, swept = None, None
        if can_run:
            run, swept = _try(case, findings, started, seconds, steps, say)
    return _report(case, findings, run, swept, time.perf_counter() - started)


def _adamw(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


def _look(case: Case, say: Callable[[str], None]) -> tuple[list[Finding], bool]:
    """Run the probes; returns what they found, and whether a training run can be tried."""
    findings: list[Finding] = []
    for name, probe in list_probes():
        say(f"looking at {name.replace('_', ' ')}")
        found = probe(case)
        findings += found
        errors = [finding for finding in found if finding.severity == "error"]
        if any(error.check in _ENDS or "fails" in error.found for error in errors):
            return findings, False
    return findings, not any(finding.severity == "error" and finding.check == "gradients" for finding in findings)


def _try(
    case: Case, findings: list[Finding], started: float, seconds: float, steps: int, say: Callable[[str], None]
) -> tuple[Overfit, SweepResult | None]:
    """Overfit; where that fails without a known error, ask whether it is the learning rate."""
    say("learning the samples by heart")
    left = seconds - (time.perf_counter() - started)
    gap: list[Finding] = []
    run = overfit(case, steps=steps, seconds=max(_RUN_SHARE * left, 1.0), at_end=lambda: gap.extend(measure_gap(case)))
    findings += gap
    case.figures["update_ratio"] = run.update_ratio
    if any(finding.severity == "error" for finding in findings) or (run.learned and not is_suspicious(run)):
        return run, None
    say("trying other learning rates")
    left = seconds - (time.perf_counter() - started)
    found, swept = check_rate(case, run, max(left, 1.0))
    findings += found or [_unexplained(run)] * (not run.learned)
    return run, swept


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


def _report(
    case: Case, findings: list[Finding], run: Overfit | None, swept: SweepResult | None, seconds: float
) -> LearningReport:
    nan = float("nan")
    trainable = any(parameter.requires_grad for parameter in case.model.parameters())
    case.figures["left_out"] = float(case.left_out)
    return LearningReport(
        learned=run is not None and run.learned,
        findings=tuple(most_severe_first(findings)),
        losses=() if run is None else run.losses,
        accuracy=nan if run is None else run.accuracy,
        mean_iou=nan if run is None else run.mean_iou,
        kappa=nan if run is None else run.kappa,
        lr=top_lr(case) if trainable else nan,
        size=(case.images.shape[2], case.images.shape[3]),
        num_samples=len(case.images),
        seconds=seconds,
        figures=dict(case.figures),
        sweep=swept,
    )
