"""From timings of passes to what a pixel, a launch, a new canvas and an update cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anysize.errors import UsageError

__all__ = ["StepCost", "Timing", "fit_cost"]

Floats = NDArray[np.float64]

_STEADY = 1.6
_ENOUGH_ROUNDS = 3

_LEAST_SECONDS_PER_PIXEL = 1e-12
"""Where timings are all noise: no device is faster, and prices in pixels stay finite."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """What training costs: each of its parts counts by itself, and they add up."""

    seconds_per_pixel: float
    """A pixel of a canvas, padding included."""
    seconds_per_launch: float
    """A pass over one canvas, however small: launching its kernels."""
    seconds_per_new_canvas: float
    """More, the first time that so many images lie on a canvas of this size: a device compiles or chooses kernels."""
    seconds_per_step: float
    """An update of the weights."""
    spread: float = 1.0
    """How many times longer than another a like pass took: upper over lower quartile."""
    rounds: int = _ENOUGH_ROUNDS
    """Passes over each canvas that there was time for."""

    @property
    def is_steady(self) -> bool:
        """Whether like passes took about as long; else the machine was busy with something else."""
        return self.spread < _STEADY and self.rounds >= _ENOUGH_ROUNDS

    @property
    def launch_pixels(self) -> float:
        """What a launch costs, in pixels: for ``--launch-pixels``."""
        return self.seconds_per_launch / self.seconds_per_pixel

    @property
    def canvas_pixels(self) -> float:
        """What a new canvas costs, in pixels."""
        return self.seconds_per_new_canvas / self.seconds_per_pixel

    def seconds(self, *, pixels: float, launches: float, new_canvases: float, steps: float) -> float:
        """Predict the time of so many of each."""
        return (
            pixels * self.seconds_per_pixel
            + launches * self.seconds_per_launch
            + new_canvases * self.seconds_per_new_canvas
            + steps * self.seconds_per_step
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the passes over one canvas took."""

    pixels: int
    """Area of the canvas times images."""
    first: float
    """Seconds of the pass that met it first."""
    later: tuple[float, ...]
    """Seconds of those after it."""

    @property
    def usual(self) -> float:
        """The lower quartile of the later ones: what else the machine does only ever adds, so a median is too slow."""
        return float(np.percentile(self.later, 25))

    @property
    def spread(self) -> float:
        """The upper quartile over the lower one."""
        return float(np.percentile(self.later, 75)) / self.usual


def fit_cost(timings: Sequence[Timing], *, seconds_per_step: float = 0.0) -> StepCost:
    """Lay a line through the usual times, by least squares of the relative errors; no part of a cost is below 0.

    >>> cost = fit_cost([Timing(1000, 0.05, (0.02,)), Timing(5000, 0.09, (0.06,)), Timing(9000, 0.13, (0.10,))])
    >>> round(cost.seconds_per_pixel * 1e6), round(cost.launch_pixels), round(cost.canvas_pixels)
    (10, 1000, 3000)

    Args:
        timings: of canvases with different numbers of pixels, two at least.
        seconds_per_step: of an update, measured by itself.

    Raises:
        UsageError: timings of fewer than two numbers of pixels, or of no time at all.
    """
    if len({timing.pixels for timing in timings}) < 2 or any(not timing.later for timing in timings):
        raise UsageError(f"{len(timings)} timings were given; canvases of two different areas are required")
    pixels = np.array([timing.pixels for timing in timings], dtype=np.float64)
    usual = np.array([timing.usual for timing in timings])
    if not (usual > 0).all() or not np.isfinite(usual).all():
        raise UsageError(f"passes took {usual.tolist()} seconds; times above 0 are required")
    slope, offset = _line(pixels, usual)
    # Over canvases the median: a first pass is there only once, and some come at a bad moment.
    more = float(np.median([timing.first - timing.usual for timing in timings]))
    return StepCost(
        seconds_per_pixel=max(slope, _LEAST_SECONDS_PER_PIXEL),
        seconds_per_launch=offset,
        seconds_per_new_canvas=max(more, 0.0),
        seconds_per_step=seconds_per_step,
        spread=float(np.median([timing.spread for timing in timings])),
        rounds=min(len(timing.later) for timing in timings),
    )


def _line(pixels: Floats, seconds: Floats) -> tuple[float, float]:
    """Slope and offset, neither of them below 0."""
    # Divided by the seconds: a small canvas, which tells the offset, counts as much as a large one.
    one = np.ones_like(seconds)
    (slope, offset), *_ = np.linalg.lstsq(np.stack([pixels, one], axis=1) / seconds[:, None], one, rcond=None)
    if offset < 0:
        ratio = pixels / seconds
        return float(ratio.sum() / (ratio * ratio).sum()), 0.0
    if slope < 0:
        ratio = 1 / seconds
        return 0.0, float(ratio.sum() / (ratio * ratio).sum())
    return float(slope), float(offset)
