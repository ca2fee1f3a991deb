"""Mean IoU by image size: does the model fail on the large ones, or on the small?"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.size_axes import draw_overall, name_buckets, scale_shares, sizes_verdict
from anysize.reporting.text import percent, pixels_range_text, pixels_text, shorten_middle

__all__ = ["draw_iou_by_size", "iou_size_verdict"]

Row = Mapping[str, Any]
SHARES = ("mean_iou", "accuracy")


def draw_iou_by_size(
    path: Path, rows: Sequence[Row], mean_iou: float, *, title: str = "Mean IoU by image size"
) -> None:
    """Draw one bar for each bucket of sizes, with its interval, its pixel accuracy and the number of images.

    Args:
        path: the file to write.
        rows: from small to large, each with ``smallest_area`` and ``largest_area`` (pixels), ``num_images``,
            ``mean_iou``, ``mean_iou_low`` and ``mean_iou_high`` (NaN or None: not drawn) and ``accuracy``, all shares
            0..1: the fields of a :class:`~anysize.metrics.SegmentationBucket`.
        mean_iou: over all images; no mean of the buckets', for it comes from summed counts.
        title: the heading.

    Raises:
        UsageError: there are no rows, or a value is no share.
    """
    _check(rows)
    width = max(8.0, 1.1 + 1.35 * len(rows))
    figure = style.new_figure(width, 4.7)
    style.add_heading(figure, shorten_middle(title, int(width * 7)), iou_size_verdict(rows, mean_iou))
    axes = style.add_axes(figure, 0.75, 0.85, width - 1.3, 2.65)
    style.label(axes, "Bars: mean IoU, with a 95 % interval over images (bootstrap); diamonds: pixel accuracy")
    if math.isfinite(mean_iou):
        draw_overall(axes, mean_iou)
    for place, row in enumerate(rows):
        _draw_bucket(axes, place, row, mean_iou)
    scale_shares(axes)
    name_buckets(axes, [_name(row) for row in rows], [row["num_images"] for row in rows])
    style.save(figure, path)


def iou_size_verdict(rows: Sequence[Row], mean_iou: float) -> str:
    """One sentence: which buckets lie clearly below all images: their whole interval does."""
    if not math.isfinite(mean_iou):
        return "no pixels were counted"
    weak = [row for row in rows if _high(row) < mean_iou]
    return sizes_verdict(percent(mean_iou, decimals=1), [_name(row) for row in weak])


def _check(rows: Sequence[Row]) -> None:
    if not rows:
        raise UsageError("there are no rows; mean IoU by size needs at least one bucket")
    for index, row in enumerate(rows):
        for name in SHARES:
            value = _share(row, name)
            if math.isfinite(value) and not 0 <= value <= 1:
                raise UsageError(f"rows[{index}] has {name} {value}; 0..1 is needed")


def _share(row: Row, name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


def _high(row: Row) -> float:
    """The upper end of the interval; without one nothing is clear."""
    high = _share(row, "mean_iou_high")
    return high if math.isfinite(high) else math.inf


def _name(row: Row) -> str:
    smallest, largest = float(row["smallest_area"]), float(row["largest_area"])
    return pixels_text(smallest) if smallest == largest else pixels_range_text(smallest, largest)


def _draw_bucket(axes: Axes, place: int, row: Row, mean_iou: float) -> None:
    value, accuracy = (_share(row, name) for name in SHARES)
    if not math.isfinite(value):
        style.write(axes, place, 0.03, "all ignored", color=style.MUTED, fontsize=style.SMALL, ha="center")
        return
    low, high = _share(row, "mean_iou_low"), _share(row, "mean_iou_high")
    axes.bar(place, value, width=0.62, color=style.ACCENT if _high(row) < mean_iou else style.BLUE, zorder=2)
    top = value
    if math.isfinite(low) and math.isfinite(high):
        # A percentile interval need not hold the value itself.
        axes.plot([place, place], [low, high], color=style.INK, linewidth=1.3, zorder=3, solid_capstyle="butt")
        axes.plot([place] * 2, [low, high], color=style.INK, marker="_", markersize=9, linestyle="", zorder=3)
        value, top = min(value, low), max(value, high)
    axes.plot([place], [accuracy], marker="D", markersize=5.5, color="white", markeredgecolor=style.INK, zorder=5)
    inside = value > 0.14
    style.write(
        axes,
        place,
        0.03 if inside else top + 0.02,
        percent(_share(row, "mean_iou")),
        ha="center",
        va="bottom",
        zorder=4,
        color="white" if inside else style.INK,
        weight="bold",
        fontsize=style.FONT + 1,
    )
