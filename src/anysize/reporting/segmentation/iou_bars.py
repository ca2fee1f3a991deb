"""Intersection over union of each class: which ones does the model not know?"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.segmentation.item import Colors
from anysize.reporting.text import percent, shorten_middle

__all__ = ["draw_iou_bars", "iou_verdict"]

LEFT, RIGHT, TOP, BOTTOM, PLOT = 2.1, 2.0, 1.2, 0.75, 5.4  # inches
BAR_INCHES = 0.27
CLEAR = 0.1  # below this a class is named as one that the model does not know


def draw_iou_bars(
    path: Path,
    classes: Sequence[str],
    iou: ArrayLike,
    counts: ArrayLike,
    palette: Colors,
    title: str = "Intersection over union by class",
) -> None:
    """Draw one bar for each class, the best at the top, in the class's colour, with its share of the truth's pixels.

    Args:
        path: the file to write.
        classes: the K names.
        iou: ``(K,)``, 0..1; NaN for a class that occurs neither in the truth nor in the predictions.
        counts: ``(K,)`` pixels of the truth of each class, ignored ones left out.
        palette: the K colours.
        title: the heading.

    Raises:
        UsageError: there are no classes, the numbers do not fit, or an IoU is no share.
    """
    values, pixels = _checked(classes, iou, counts, palette)
    # Absent classes last; of equals the one that comes first.
    order = sorted(range(len(values)), key=lambda k: (math.isnan(values[k]), -np.nan_to_num(values[k]), k))
    bars = BAR_INCHES * len(order)
    figure = style.new_figure(LEFT + PLOT + RIGHT, TOP + bars + BOTTOM)
    style.add_heading(figure, shorten_middle(title, 80), iou_verdict(classes, values))
    axes = style.add_axes(figure, LEFT, BOTTOM, PLOT, bars)
    _draw_bars(axes, order, values, pixels, palette)
    names = [shorten_middle(classes[k], 22) for k in order]
    style.set_tick_names(axes, "y", range(len(order)), names, fontsize=style.SMALL)
    style.save(figure, path)


def iou_verdict(classes: Sequence[str], iou: ArrayLike) -> str:
    """One line: the mean over the classes that occur, and the classes that the model hardly knows."""
    values = np.asarray(iou, dtype=np.float64)
    known = values[~np.isnan(values)]
    if not len(known):
        return "no class occurs"
    parts = [f"mean IoU {percent(float(known.mean()), decimals=1)} over {_num_classes(len(known))}"]
    weak = sorted((k for k in range(len(values)) if values[k] < CLEAR), key=lambda k: float(values[k]))
    if weak:
        names = ", ".join(shorten_middle(classes[k], 18) for k in weak[:3]) + (", …" if len(weak) > 3 else "")
        parts.append(f"below {percent(CLEAR)}: {names}")
    if len(known) < len(values):
        parts.append(f"{_num_classes(len(values) - len(known))} absent")
    return "  ·  ".join(parts)


def _num_classes(number: int) -> str:
    return f"{number} class" if number == 1 else f"{number} classes"


def _checked(
    classes: Sequence[str], iou: ArrayLike, counts: ArrayLike, palette: Colors
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values, pixels = np.asarray(iou, dtype=np.float64), np.asarray(counts, dtype=np.int64)
    numbers = {"IoU": values.shape, "counts": pixels.shape, "colours": (len(palette),)}
    if not classes:
        raise UsageError("there are no classes; bars need at least one")
    for name, shape in numbers.items():
        if shape != (len(classes),):
            raise UsageError(f"{name} of shape {shape} for {len(classes)} classes; one a class is needed")
    wrong = [k for k in range(len(values)) if not (math.isnan(values[k]) or 0 <= values[k] <= 1)]
    if wrong:
        raise UsageError(f"the IoU of {classes[wrong[0]]} is {values[wrong[0]]}; 0..1 is needed, NaN where absent")
    return values, pixels


def _draw_bars(
    axes: Axes, order: Sequence[int], values: NDArray[np.float64], pixels: NDArray[np.int64], palette: Colors
) -> None:
    style.label(axes, "IoU")
    total = max(1, int(pixels.sum()))
    style.write(
        axes,
        1.26,
        1 + 0.11 / (BAR_INCHES * len(order)),  # on the line of the label, which lies 8 points above the axes
        "share of the truth",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        color=style.MUTED,
    )
    for row, k in enumerate(order):
        share = percent(float(pixels[k]) / total) if pixels[k] else "not in the truth"
        if math.isnan(values[k]):
            style.write(axes, 0.01, row, "absent", va="center", color=style.MUTED, fontsize=style.SMALL)
        else:
            color = tuple(channel / 255 for channel in palette[k])
            # The edge shows a bar of a white class, on paper that is white.
            axes.barh(row, float(values[k]), height=0.62, color=color, edgecolor=style.MUTED, linewidth=0.8, zorder=2)
            style.write(
                axes,
                float(values[k]) + 0.012,
                row,
                percent(float(values[k]), decimals=1),
                va="center",
                zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )
        style.write(
            axes,
            1.26,
            row,
            share,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            color=style.MUTED,
            fontsize=style.SMALL,
        )
    known = values[~np.isnan(values)]
    if len(known):
        mean = float(known.mean())
        axes.axvline(mean, color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
        style.write(
            axes,
            mean,
            -0.36 / (BAR_INCHES * len(order)),
            "mean",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            color=style.MUTED,
            fontsize=style.SMALL,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    ticks = (0, 0.25, 0.5, 0.75, 1)
    style.set_tick_names(axes, "x", ticks, [f"{100 * tick:.0f} %" for tick in ticks])
    axes.grid(axis="x", color=style.GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
