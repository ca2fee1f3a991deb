"""A sweep of learning rates: where the loss falls, where it breaks, and what is suggested."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from anysize.errors import UsageError
from anysize.reporting import style

__all__ = ["draw_lr_sweep", "smooth_losses"]

SMOOTHING = 0.9
HEADROOM = 0.35  # above the highest smoothed loss worth seeing, of the range below it


def draw_lr_sweep(
    path: Path,
    rates: Sequence[float],
    losses: Sequence[float],
    suggestion: float | None,
    bounds: tuple[float, float] | None = None,
    *,
    smoothed: Sequence[float] | None = None,
    title: str = "Learning-rate sweep",
) -> None:
    """Draw the loss of each step over its learning rate.

    Args:
        path: the file to write.
        rates: ascending, above 0.
        losses: of each step; what is not finite is marked at the upper edge.
        suggestion: the rate to mark; None where none is good.
        bounds: (lowest, highest) rate at which the loss falls, shaded.
        smoothed: the smoothed losses that the suggestion was made from; :func:`smooth_losses` where not given.
        title: the heading.

    Raises:
        UsageError: there are no steps, the lengths differ, or the rates are not above 0 and ascending.
    """
    _check(rates, losses, smoothed)
    smooth = np.asarray(smooth_losses(losses) if smoothed is None else smoothed, dtype=np.float64)
    raw = np.asarray(losses, dtype=np.float64)
    figure = style.new_figure(9.0, 5.0)
    style.add_heading(figure, title, _subtitle(rates, raw, suggestion, bounds))
    axes = style.add_axes(figure, 0.8, 0.75, 7.8, 3.05)
    style.label(axes, "Loss")
    low, high = _limits(raw, smooth)
    if bounds is not None:
        axes.axvspan(*bounds, color=style.BLUE, alpha=0.09, linewidth=0, zorder=0, label="the loss falls")
    axes.plot(rates, raw, color=style.NEUTRAL, linewidth=1.0, zorder=2, label="each step")
    axes.plot(rates, smooth, color=style.BLUE, linewidth=2.0, zorder=3, label="smoothed")
    _mark_broken(axes, rates, raw, high)
    axes.set_xscale("log")
    axes.set_ylim(low, high)
    if suggestion is not None:
        _mark_suggestion(axes, suggestion, rates, smooth, (low, high))
    _finish(axes, rates)
    style.save(figure, path)


def smooth_losses(losses: Sequence[float], factor: float = SMOOTHING) -> NDArray[np.float64]:
    """``(N,)`` the exponential mean of what came so far, without the start's pull to zero.

    As Adam corrects its means (Kingma & Ba, 2015, section 3). What is not finite adds nothing and stays NaN.

    >>> smooth_losses([2.0, 2.0, 2.0]).tolist()
    [2.0, 2.0, 2.0]
    """
    result = np.full(len(losses), np.nan)
    total = weight = 0.0
    for place, loss in enumerate(losses):
        if math.isfinite(loss):
            total = factor * total + (1 - factor) * loss
            weight = factor * weight + (1 - factor)
            result[place] = total / weight
    return result


def _check(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float] | None) -> None:
    if not len(rates):
        raise UsageError("there are no steps; a sweep needs at least one")
    lengths = {"losses": len(losses), "smoothed losses": len(rates if smoothed is None else smoothed)}
    for name, length in lengths.items():
        if length != len(rates):
            raise UsageError(f"there are {len(rates)} rates and {length} {name}; one each is needed")
    if not 0 < rates[0] <= rates[-1] < math.inf or (np.diff(np.asarray(rates)) <= 0).any():
        raise UsageError(f"the rates go from {rates[0]:g} to {rates[-1]:g}; they must be above 0 and ascend")


def _subtitle(
    rates: Sequence[float], raw: NDArray[np.float64], suggestion: float | None, bounds: tuple[float, float] | None
) -> str:
    parts = [f"{len(rates)} steps from {rates[0]:.2g} to {rates[-1]:.2g}"]
    parts.append("no rate is suggested" if suggestion is None else f"suggested: {suggestion:.3g}")
    if bounds is not None:
        parts.append(f"the loss falls from {bounds[0]:.2g} to {bounds[1]:.2g}")
    broken = np.flatnonzero(~np.isfinite(raw))
    if len(broken):
        parts.append(f"not finite from {rates[broken[0]]:.2g} on")
    return "  ·  ".join(parts)


def _limits(raw: NDArray[np.float64], smooth: NDArray[np.float64]) -> tuple[float, float]:
    """The range of losses that is shown: what is lost beyond is the explosion, of which the height tells nothing."""
    finite = smooth[np.isfinite(smooth)]
    if not len(finite):
        return 0.0, 1.0
    # Up to its lowest point a loss falls, or stands; from there on it only breaks.
    least = int(np.nanargmin(smooth))
    highest = float(np.nanmax(smooth[: least + 1]))
    lowest = float(min(finite.min(), raw[np.isfinite(raw)].min()))
    span = max(highest - float(finite.min()), 0.05 * abs(highest), 1e-12)
    low = max(lowest, float(finite.min()) - span) - 0.06 * span
    return low, highest + HEADROOM * span


def _mark_broken(axes: Axes, rates: Sequence[float], raw: NDArray[np.float64], high: float) -> None:
    broken = [rate for rate, loss in zip(rates, raw, strict=True) if not math.isfinite(loss)]
    if broken:
        axes.plot(
            broken,
            [high] * len(broken),
            color=style.ACCENT,
            marker="x",
            markersize=6,
            markeredgewidth=1.6,
            linestyle="",
            clip_on=False,
            zorder=5,
            label="not finite",
        )


def _mark_suggestion(
    axes: Axes, suggestion: float, rates: Sequence[float], smooth: NDArray[np.float64], limits: tuple[float, float]
) -> None:
    axes.axvline(suggestion, color=style.ACCENT, linewidth=1.2, linestyle=(0, (3, 3)), zorder=4)
    known = np.isfinite(smooth)
    if known.any():
        value = float(np.interp(math.log(suggestion), np.log(np.asarray(rates)[known]), smooth[known]))
        if limits[0] <= value <= limits[1]:
            style.ring(axes, suggestion, value)
    right = math.log(suggestion) > (math.log(rates[0]) + math.log(rates[-1])) / 2
    style.write(
        axes,
        suggestion,
        0.02,
        f"{suggestion:.3g} " if right else f" {suggestion:.3g}",
        transform=axes.get_xaxis_transform(),
        ha="right" if right else "left",
        va="bottom",
        weight="bold",
        color=style.ACCENT_INK,
    )


def _finish(axes: Axes, rates: Sequence[float]) -> None:
    margin = (rates[-1] / rates[0]) ** 0.02 if rates[-1] > rates[0] else 2.0
    axes.set_xlim(rates[0] / margin, rates[-1] * margin)
    few = rates[-1] < 1000 * rates[0]  # powers of ten alone would be too few
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    if few:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate (log scale)", fontsize=style.FONT, color=style.MUTED, family=[style.FAMILY])
    axes.grid(axis="both", color=style.GRID, linewidth=0.8)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.03),
        ncols=4,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.4,
        labelcolor=style.INK,
        prop={"family": style.FAMILY, "size": style.FONT},
    )
