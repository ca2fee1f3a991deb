"""The course of a training: loss, accuracy or mean IoU, and learning rate by epoch, with the best epoch marked."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.text import percent

__all__ = ["Best", "best_epoch", "column", "draw_curves"]

Row = Mapping[str, float | str | None]

# What decides, in this order, and whether more of it is better.
_CRITERIA = (
    ("val_mean_iou", True),
    ("val_accuracy", True),
    ("val_loss", False),
    ("train_mean_iou", True),
    ("train_accuracy", True),
    ("train_loss", False),
)
_SHARES = ("accuracy", "mean_iou")
LOG_FROM_RATIO = 30.0  # of the largest to the smallest value; below it a log axis bends for nothing


class Best(NamedTuple):
    """The best epoch, by which column, and that column's value."""

    epoch: int
    column: str
    value: float


def column(rows: Sequence[Row], key: str) -> list[float]:
    """One column as numbers; NaN where it is absent, None, empty (as in a CSV file), or not finite."""
    values = []
    for row in rows:
        cell = row.get(key)
        value = math.nan if cell is None or cell == "" else float(cell)
        values.append(value if math.isfinite(value) else math.nan)
    return values


def best_epoch(rows: Sequence[Row]) -> Best | None:
    """The best epoch by validation mean IoU, else accuracy, else loss, else the training's; the first of equals.

    >>> best_epoch([{"epoch": 1, "val_loss": 2.0}, {"epoch": 2, "val_loss": 1.0}])
    Best(epoch=2, column='val_loss', value=1.0)
    """
    epochs = column(rows, "epoch")
    for key, more_is_better in _CRITERIA:
        pairs = [(e, v) for e, v in zip(epochs, column(rows, key), strict=True) if math.isfinite(v)]
        if pairs:
            epoch, value = min(pairs, key=lambda pair: -pair[1] if more_is_better else pair[1])
            return Best(int(epoch), key, value)
    return None


def draw_curves(path: Path, rows: Sequence[Row], *, title: str = "Training", best: int | None = None) -> None:
    """Draw the rows of ``metrics.csv``.

    Args:
        path: the file to write.
        rows: by epoch, each with ``epoch`` and any of ``train_loss``, ``val_loss``, ``train_accuracy``,
            ``val_accuracy``, ``train_mean_iou``, ``val_mean_iou`` (0..1), ``lr``, ``seconds``, ``val_seconds`` and
            ``mpx_per_s``; missing values are gaps in a line. Where there is a mean IoU, it is drawn, not the accuracy.
        title: the heading.
        best: the epoch to mark; :func:`best_epoch` chooses where none is given.

    Raises:
        UsageError: there are no rows, a row has no epoch, or ``best`` is none of them.
    """
    epochs = column(rows, "epoch")
    if not epochs:
        raise UsageError("there are no rows; curves need at least one epoch")
    if any(math.isnan(epoch) for epoch in epochs):
        raise UsageError(f"rows[{[math.isnan(epoch) for epoch in epochs].index(True)}] has no epoch")
    if best is not None and best not in epochs:
        raise UsageError(f"best is epoch {best}, which is in no row; the rows are {epochs[0]:g} to {epochs[-1]:g}")
    chosen = best_epoch(rows)
    marked = best if best is not None else (chosen.epoch if chosen else None)
    figure = style.new_figure(11, 6.0)
    style.add_heading(figure, title, _subtitle(rows, marked, chosen))
    loss = style.add_axes(figure, 0.75, 2.35, 4.6, 2.45)
    accuracy = style.add_axes(figure, 6.1, 2.35, 4.6, 2.45)
    rate = style.add_axes(figure, 0.75, 0.6, 9.95, 0.95)
    _draw_panel(loss, epochs, rows, "loss", "Loss", marked)
    kind, name = ("mean_iou", "Mean IoU") if _has_mean_iou(rows) else ("accuracy", "Accuracy")
    _draw_panel(accuracy, epochs, rows, kind, name, marked)
    accuracy.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
    _draw_rate(rate, epochs, column(rows, "lr"), marked)
    for axes in (loss, accuracy, rate):
        _scale_epochs(axes, epochs)
    style.save(figure, path)


def _has_mean_iou(rows: Sequence[Row]) -> bool:
    return any(math.isfinite(value) for part in ("train", "val") for value in column(rows, f"{part}_mean_iou"))


def _subtitle(rows: Sequence[Row], marked: int | None, chosen: Best | None) -> str:
    parts = [f"{len(rows)} epoch" if len(rows) == 1 else f"{len(rows)} epochs"]
    if marked is not None and chosen is not None and marked == chosen.epoch:
        name = (
            chosen.column.replace("val_", "validation ").replace("train_", "training ").replace("mean_iou", "mean IoU")
        )
        value = percent(chosen.value, decimals=1) if chosen.column.endswith(_SHARES) else f"{chosen.value:.4g}"
        parts.append(f"best: epoch {marked}, {name} {value}")
    elif marked is not None:
        parts.append(f"best: epoch {marked}")
    for key, what in (("seconds", "training"), ("val_seconds", "validation")):
        seconds = [value for value in column(rows, key) if math.isfinite(value)]
        if seconds:
            parts.append(f"{_duration(sum(seconds))} of {what}")
    speeds = [value for value in column(rows, "mpx_per_s") if math.isfinite(value)]
    if speeds:
        parts.append(f"{sum(speeds) / len(speeds):.3g} Mpx/s")
    return "  ·  ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"


def _draw_line(axes: Axes, epochs: Sequence[float], values: Sequence[float], color: str, name: str) -> None:
    # Points are marked while they are few: a single epoch, or one between gaps, has no line to be seen by.
    num_points = sum(map(math.isfinite, values))
    lonely = num_points and not any(math.isfinite(a) and math.isfinite(b) for a, b in pairwise(values))
    marker = "o" if num_points <= 30 or lonely else ""
    axes.plot(
        epochs,
        values,
        color=color,
        linewidth=1.8,
        marker=marker,
        markersize=4.5 if num_points > 1 else 7,
        label=name,
    )


def _draw_panel(
    axes: Axes, epochs: Sequence[float], rows: Sequence[Row], kind: str, name: str, marked: int | None
) -> None:
    train, val = column(rows, f"train_{kind}"), column(rows, f"val_{kind}")
    finite = [value for value in train + val if math.isfinite(value)]
    log = kind == "loss" and bool(finite) and min(finite) > 0 and max(finite) / min(finite) > LOG_FROM_RATIO
    style.label(axes, f"{name} (log scale)" if log else name)
    if not finite:
        _say_none(axes)
        return
    for values, color, part in ((train, style.NEUTRAL, "training"), (val, style.BLUE, "validation")):
        if any(map(math.isfinite, values)):
            _draw_line(axes, epochs, values, color, part)
    _mark(axes, epochs, val if any(map(math.isfinite, val)) else train, marked)
    _scale_values(axes, finite, log=log, share=kind in _SHARES)
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=style.FONT,
        borderaxespad=0.2,
        labelcolor=style.INK,
        handlelength=1.6,
        columnspacing=1.4,
        prop={"family": style.FAMILY, "size": style.FONT},
    )


def _scale_values(axes: Axes, finite: Sequence[float], *, log: bool, share: bool) -> None:
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        return
    low, high = min(finite), max(finite)
    # Not so near that noise fills the panel and the ticks need five digits.
    least = 0.05 if share else 0.1 * abs(high) or 0.1
    margin = max(0.08 * (high - low), (least - (high - low)) / 2)
    top = min(1.01, high + margin) if share else high + margin
    axes.set_ylim(max(0.0, low - margin) if low >= 0 else low - margin, max(top, high))


def _mark(axes: Axes, epochs: Sequence[float], values: Sequence[float], marked: int | None) -> None:
    if marked is None or marked not in epochs:
        return
    axes.axvline(marked, color=style.ACCENT, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
    value = values[list(epochs).index(marked)]
    if math.isfinite(value):
        style.ring(axes, marked, value)


def _draw_rate(axes: Axes, epochs: Sequence[float], rates: Sequence[float], marked: int | None) -> None:
    finite = [rate for rate in rates if math.isfinite(rate)]
    log = bool(finite) and min(finite) > 0 and max(finite) / min(finite) > LOG_FROM_RATIO
    style.label(axes, "Learning rate (log scale)" if log else "Learning rate")
    axes.set_xlabel("epoch", fontsize=style.FONT, color=style.MUTED)
    if not finite:
        _say_none(axes)
        return
    _draw_line(axes, epochs, rates, style.INK, "learning rate")
    _mark(axes, epochs, [math.nan] * len(epochs), marked)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.2 * max(finite) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)


def _say_none(axes: Axes) -> None:
    axes.set_yticks([])
    style.write(axes, 0.5, 0.5, "not recorded", transform=axes.transAxes, color=style.MUTED, ha="center", va="center")


def _scale_epochs(axes: Axes, epochs: Sequence[float]) -> None:
    low, high = min(epochs), max(epochs)
    margin = max(0.5 if low == high else 0.0, 0.02 * (high - low))
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
