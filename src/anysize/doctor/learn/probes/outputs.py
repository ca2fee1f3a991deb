"""Outputs that do not fit the targets: the model fails, other numbers of classes, another size, non-finite values."""

import torch

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case

__all__ = ["ORDER", "probe"]

ORDER = 5


def probe(case: Case) -> list[Finding]:
    """Run the model once in evaluation and once in training mode."""
    logits = None
    for train in (False, True):
        try:
            with case.trial(train=train):
                logits = case.forward().detach()
        except (ValueError, RuntimeError, TypeError) as error:
            return [_failed(error, train)]
        if (finding := _misfit(case, logits, train)) is not None:
            return [finding]
    assert logits is not None  # noqa: S101 - for the type checker: the loop ran
    dead = [k for k in range(logits.shape[1]) if logits.shape[1] > 1 and not bool(logits[:, k].any())]
    if dead:
        return [_dead(dead, logits.shape[1])]
    return []


def _failed(error: Exception, train: bool) -> Finding:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    mode = "training" if train else "evaluation"
    if "more than 1 value per channel" in said:
        return Finding(
            "outputs",
            "error",
            f"batch normalisation got one value a channel ({said})",
            "two values a channel or more",
            "two or more images a step (of a common size), --batch-norm frozen, or group normalisation",
        )
    return Finding(
        "outputs", "error", f"the model fails in {mode} mode: {said}", "logits", "look at in_channels and image sizes"
    )


def _misfit(case: Case, logits: torch.Tensor, train: bool) -> Finding | None:
    if not bool(torch.isfinite(logits).all()):
        share = 1 - float(torch.isfinite(logits).float().mean())
        mode = "training" if train else "evaluation"
        fix = "look for NaN in weights and running statistics (a crashed run's checkpoint), or half precision"
        return Finding("outputs", "error", f"{share:.1%} of the outputs are NaN or infinite in {mode}", "finite", fix)
    num_dims = 4 if case.is_segmenter else 2
    if logits.dim() != num_dims:
        return Finding(
            "outputs",
            "error",
            f"the model returns shape {tuple(logits.shape)}",
            "(N, K, H, W)" if case.is_segmenter else "(N, K)",
            "a segmenter answers each pixel, a classifier each image: does the model fit the targets?",
        )
    if logits.shape[1] != case.num_classes:
        return Finding(
            "outputs",
            "error",
            f"the model has {logits.shape[1]} outputs for {case.num_classes} classes",
            f"{case.num_classes} outputs (the ignored label is none)",
            f"build the model with num_classes={case.num_classes}",
        )
    wanted = tuple(case.targets.shape[-2:])
    if case.is_segmenter and tuple(logits.shape[-2:]) != wanted:
        size = "x".join(map(str, logits.shape[-2:]))
        return Finding(
            "outputs",
            "error",
            f"outputs are {size} for masks of {wanted[0]}x{wanted[1]} (height x width)",
            "a logit for each pixel of the mask",
            'logits = F.interpolate(logits, size=masks.shape[-2:], mode="bilinear"), not a smaller mask',
        )
    return None


def _dead(dead: list[int], num_outputs: int) -> Finding:
    which = "every output is" if len(dead) == num_outputs else f"output{'s' * (len(dead) > 1)} {_listed(dead)} "
    be = "" if len(dead) == num_outputs else ("are" if len(dead) > 1 else "is")
    return Finding(
        "gradients",
        "error" if len(dead) == num_outputs else "warning",
        f"{which}{be} exactly 0 for every image: a dead ReLU at the end, through which no gradient passes",
        "logits of either sign",
        "leave out the activation behind the last layer (fcn_small: final_relu=false)",
    )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
