"""Learning rate range test (Smith 2017, "Cyclical learning rates", section 3.3): one short run at rates that rise.

Every rate is tried on the same number of pixels, so that the curve shows the rate and not the sizes of the images: a
probe takes batches until they hold as many targets that count, and divides the sum of their losses once.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anysize.doctor.outputs import logits_of, mean_loss
from anysize.doctor.untouched import untouched
from anysize.errors import UsageError
from anysize.ragged import RaggedBatch, RaggedGroup

__all__ = ["SweepResult", "suggest", "sweep"]

_DIVERGED = 4.0  # times the lowest loss (over a floor): the rest of the sweep shows nothing
_DECADE = 10.0
_SMALL_FALL = 0.1  # of the whole fall: from there a rate does something
_NO_FALL = 0.03  # of the first loss: less is noise


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A loss at each rate of a rising sweep."""

    rates: tuple[float, ...]
    """Of the optimiser's fastest group; ascending, geometric. They end where the loss diverged."""
    losses: tuple[float, ...]
    """Of each probe, before the update with its rate; the last ones may be infinite or NaN."""
    smoothed: tuple[float, ...]
    """Mean of five neighbours of the median of three."""
    pixels: tuple[float, ...]
    """Targets that counted in each probe: equal to within a batch."""
    suggestion: float | None
    """See `suggest`; None where the loss never fell."""
    usable: tuple[float, float] | None
    """From the rate at which the loss starts to fall to the one at which it stops to."""
    diverged: bool
    """Whether the loss blew up before the last rate."""
    complete: bool = True
    """Whether it came to its end, the last rate or where the loss diverged, before the time was out."""


def sweep(
    model: nn.Module,
    batches: Sequence[tuple[Any, Any]],
    loss: Any,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 60,
    ignore_label: int | None = 255,
    seconds: float = math.inf,
    update: Callable[[torch.optim.Optimizer, Sequence[Any]], float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Train with rates that rise geometrically, one update a rate; the model ends as it was.

    Args:
        model: in the mode in which it is to train.
        batches: (images, targets), what the model and the loss take: tensors (N, C, H, W) and (N, H, W) or (N,), or
            ragged ones; lists of targets count together. They are taken in turn, as often as it needs.
        loss: a callable of (logits, targets) that gives a mean or (sum, count); or an objective of `anysize.losses`.
        make_optimizer: builds an optimiser for the model. Rates of its groups keep their ratios.
        low, high: first and last rate, of the group with the largest.
        steps: number of rates.
        ignore_label: targets that do not count.
        seconds: the time it may take; where that is out, the result is not complete.
        update: makes a whole update with the images of a probe, and returns its loss before; in place of a pass through
            the model, ``loss`` and ``optimizer.step()``.
        progress: called with the rates tried, and how many there are.

    Raises:
        UsageError: no batch, fewer than 8 steps, rates that do not rise, or no target that counts.
    """
    if not batches or steps < 8 or not 0 < low < high < math.inf:
        raise UsageError(
            f"a sweep got {len(batches)} batches, {steps} steps and rates from {low:g} to {high:g}; at least one "
            "batch, 8 steps and two rising, positive rates are required"
        )
    counts = [float(_count(targets, ignore_label)) for _, targets in batches]
    if max(counts) <= 0:
        raise UsageError("no target of the sweep's batches counts: all are ignored", hint="--ignore-label, or others")
    probes = _equal_probes(batches, counts)
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []
    pixels: list[float] = []
    started, complete = time.perf_counter(), True
    with untouched(model), torch.enable_grad():
        optimizer = make_optimizer(model)
        ratios = _ratios(optimizer)
        for number, rate in enumerate(rates):
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                group["lr"] = float(rate) * ratio
            optimizer.zero_grad(set_to_none=True)
            probe = next(probes)
            if update is None:
                value = _accumulate(model, loss, probe)
            else:
                value = update(optimizer, [images for images, _, _ in probe])
            losses.append(value)
            pixels.append(sum(count for _, _, count in probe))
            if progress is not None:
                progress(number + 1, steps)
            if not math.isfinite(value) or _has_diverged(losses):
                break
            if update is None:
                optimizer.step()
            if time.perf_counter() - started > seconds and number + 1 < steps:
                complete = False
                break
    tried = tuple(float(rate) for rate in rates[: len(losses)])
    diverged = complete and len(losses) < steps
    smoothed, suggestion, usable = suggest(tried, losses)
    return SweepResult(
        rates=tried,
        losses=tuple(losses),
        smoothed=smoothed,
        pixels=tuple(pixels),
        suggestion=suggestion,
        usable=usable,
        diverged=diverged,
        complete=complete,
    )


def suggest(
    rates: Sequence[float], losses: Sequence[float]
) -> tuple[tuple[float, ...], float | None, tuple[float, float] | None]:
    """Read a sweep: the smoothed losses, a rate to take, and the range of those that work.

    The upper end is the rate of the lowest smoothed loss, which rises behind it. A rate that is fine for a few steps is
    too high for a whole run: a tenth of the upper end is the most that is suggested. Where the steepest fall comes
    before that, it is the geometric mean of both: few samples are learned before the rates get high, so that the
    steepest fall alone is too low for them.

    >>> rates = [10.0**k for k in range(-6, 1)]
    >>> _, rate, usable = suggest(rates, [1.0, 1.0, 0.95, 0.6, 0.2, 0.9, 40.0])
    >>> rate, usable
    (0.001, (0.001, 0.01))
    """
    finite = np.asarray([value if math.isfinite(value) else np.nan for value in losses], dtype=float)
    finite = finite[: int(np.argmax(np.isnan(finite)))] if np.isnan(finite).any() else finite
    width = 5 if len(finite) >= 15 else 1
    smooth = _smooth(finite, width)
    if len(smooth) < 3:
        return tuple(map(float, smooth)), None, None
    lowest = int(np.argmin(smooth))
    start = float(np.median(smooth[: max(1, len(smooth) // 8)]))
    fall = start - float(smooth[lowest])
    if lowest == 0 or fall <= _NO_FALL * max(abs(start), 1e-12):
        return tuple(map(float, smooth)), None, None
    falling = np.flatnonzero(smooth[: lowest + 1] <= start - _SMALL_FALL * fall)
    first = int(falling[0])
    slopes = np.gradient(smooth, np.log(rates[: len(smooth)]))
    steepest = int(np.argmin(slopes[: lowest + 1]))
    top = float(rates[lowest])
    most = top / _DECADE
    rate = math.sqrt(min(float(rates[steepest]), most) * most)
    bottom = min(float(rates[first]), rate)
    return tuple(map(float, smooth)), rate, (bottom, top)


def _smooth(values: Any, width: int) -> Any:
    """Median of three against single odd batches, then a mean of neighbours; the ends repeat."""
    if width == 1 or len(values) < 3:
        return values
    padded = np.pad(values, 1, mode="edge")
    median = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    kernel = np.ones(width) / width
    return np.convolve(np.pad(median, width // 2, mode="edge"), kernel, mode="valid")


def _equal_probes(
    batches: Sequence[tuple[Any, Any]], counts: Sequence[float]
) -> Iterator[list[tuple[Any, Any, float]]]:
    """Deal the batches in turn into probes of as many counted targets as a batch has in the mean, to within a batch."""
    wanted = sum(counts) / sum(count > 0 for count in counts)
    probe: list[tuple[Any, Any, float]] = []
    owed = 0.0  # what earlier probes had too much, so that all are equal in the mean
    for (images, targets), count in cycle(zip(batches, counts, strict=True)):
        if count <= 0:
            continue
        probe.append((images, targets, count))
        held = sum(part[2] for part in probe)
        if held + owed >= wanted * (1 - 1e-9):
            owed = held + owed - wanted
            yield probe
            probe = []


def _accumulate(model: nn.Module, loss: Any, probe: list[tuple[Any, Any, float]]) -> float:
    """Leave the gradient of sum/count over the probe in the parameters; returns the loss."""
    total = sum(count for _, _, count in probe)
    value = 0.0
    for images, targets, count in probe:
        output = model(images)
        logits = output if isinstance(output, RaggedBatch | RaggedGroup) else logits_of(output)
        part = mean_loss(loss, logits, targets) * (count / total)
        value += float(part.detach())
        if math.isfinite(value):
            part.backward()  # type: ignore[no-untyped-call]
    return value


def _count(targets: Any, ignore_label: int | None) -> int:
    if isinstance(targets, list | tuple):
        return sum(_count(part, ignore_label) for part in targets)
    if isinstance(targets, RaggedGroup):
        return sum(_count(part, ignore_label) for part in targets.parts)
    if isinstance(targets, RaggedBatch):
        mask = targets.mask.reshape(targets.canvas.shape)
        return int((mask & (targets.canvas != (-1 if ignore_label is None else ignore_label))).sum())
    if isinstance(targets, Tensor) and targets.dim() == 4:  # one-hot: (N, K, H, W)
        return targets.numel() // targets.shape[1]
    return int((targets != (-1 if ignore_label is None else ignore_label)).sum())


def _ratios(optimizer: torch.optim.Optimizer) -> list[float]:
    """Of each group's rate to the largest."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    largest = max(rates)
    return [rate / largest if largest > 0 else 1.0 for rate in rates]


def _has_diverged(losses: Sequence[float]) -> bool:
    """Far above the start, twice in a row: a single odd batch ends nothing."""
    if len(losses) < 4:
        return False
    bound = min(losses) + (_DIVERGED - 1) * max(abs(losses[0]), 1e-3)
    return min(losses[-2:]) > bound
