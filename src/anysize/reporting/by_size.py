"""Accuracy by image size: does the model fail on the large ones, or on the small?"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.size_axes import draw_overall, name_buckets, scale_shares, sizes_verdict
from anysize.reporting.text import percent, pixels_range_text, shorten_middle
from anysize.reporting.wilson import wilson_interval

__all__ = ["draw_by_size", "overall_accuracy", "size_verdict"]

Row = Mapping[str, Any]


def draw_by_size(path: Path, rows: Sequence[Row], *, title: str = "Accuracy by image size") -> None:
    """Draw one bar for each bucket of sizes, with a 95 % interval and the number of images.

    Args:
        path: the file to write.
        rows: from small to large, each with ``label`` (empty: the limits are written), ``lower_pixels`` and
            ``upper_pixels`` (area; the upper one may be infinite), ``num_images``, ``accuracy`` (0..1, the
            share of ``num_images``; not read where there are none) and, where there is one, ``loss``.
        title: the heading.

    The interval takes each image for one trial: it is meant for classification.

    Raises:
        UsageError: there are no rows, or an accuracy is no share.
    """
    rows = _checked_rows(rows)
    has_loss = any(math.isfinite(_loss(row)) for row in rows)
    width = max(8.0, 1.1 + 1.2 * len(rows))
    figure = style.new_figure(width, 6.2 if has_loss else 4.6)
    style.add_heading(figure, shorten_middle(title, int(width * 7)), size_verdict(rows))
    bottom = 2.4 if has_loss else 0.8
    _draw_accuracy(style.add_axes(figure, 0.75, bottom, width - 1.2, 2.6), rows)
    if has_loss:
        _draw_loss(style.add_axes(figure, 0.75, 0.4, width - 1.2, 1.05), rows)
    style.save(figure, path)


def _checked_rows(rows: Sequence[Row]) -> list[Row]:
    if not rows:
        raise UsageError("there are no rows; accuracy by size needs at least one bucket")
    for index, row in enumerate(rows):
        if row["num_images"] and not 0.0 <= row["accuracy"] <= 1.0:
            raise UsageError(
                f"rows[{index}] has accuracy {row['accuracy']} of {row['num_images']} images; 0..1 is needed"
            )
    return list(rows)


def _loss(row: Row) -> float:
    loss = row.get("loss")
    return math.nan if loss is None or not row["num_images"] else float(loss)


def _name(row: Row) -> str:
    if row.get("label"):
        return shorten_middle(str(row["label"]), 15)
    return pixels_range_text(float(row["lower_pixels"]), float(row["upper_pixels"]))


def overall_accuracy(rows: Sequence[Row]) -> float:
    """The accuracy over the images of all buckets, 0..1; NaN where there is no image."""
    filled = [row for row in rows if row["num_images"]]
    num_images = sum(row["num_images"] for row in filled)
    if not num_images:
        return math.nan
    return float(sum(row["accuracy"] * row["num_images"] for row in filled) / num_images)


def size_verdict(rows: Sequence[Row]) -> str:
    """One sentence: which buckets lie clearly below the accuracy over all images.

    Clearly means that the whole 95 % interval does.
    """
    overall = overall_accuracy(rows)
    if math.isnan(overall):
        return "no images"
    filled = [row for row in rows if row["num_images"]]
    weak = [row for row in filled if wilson_interval(row["accuracy"], row["num_images"])[1] < overall]
    return sizes_verdict(percent(overall), [_name(row) for row in weak])


def _draw_accuracy(axes: Axes, rows: Sequence[Row]) -> None:
    style.label(axes, "Accuracy, with its 95 % interval (Wilson)")
    overall = overall_accuracy(rows)
    if math.isfinite(overall):
        draw_overall(axes, overall)
    for index, row in enumerate(rows):
        if not row["num_images"]:
            style.write(axes, index, 0.03, "no images", color=style.MUTED, fontsize=style.SMALL, ha="center")
            continue
        share = float(row["accuracy"])
        low, high = wilson_interval(share, row["num_images"])
        weak = high < overall
        axes.bar(index, share, width=0.62, color=style.ACCENT if weak else style.BLUE, zorder=2)
        axes.errorbar(
            index,
            share,
            yerr=[[max(0.0, share - low)], [max(0.0, high - share)]],
            color=style.INK,
            linewidth=1.3,
            capsize=4,
            zorder=3,
        )
        # At the foot of the bar, where neither the interval nor the line of all images crosses it.
        free = low > 0.14
        style.write(
            axes,
            index,
            0.03 if free else high + 0.02,
            percent(share),
            ha="center",
            va="bottom",
            zorder=4,
            color="white" if free else style.INK,
            weight="bold",
            fontsize=style.FONT + 1,
        )
    scale_shares(axes)
    name_buckets(axes, [_name(row) for row in rows], [row["num_images"] for row in rows])


def _draw_loss(axes: Axes, rows: Sequence[Row]) -> None:
    style.label(axes, "Mean loss")
    losses = [_loss(row) for row in rows]
    axes.plot(range(len(rows)), losses, color=style.BLUE, marker="o", markersize=5, linewidth=1.4)
    axes.set_ylim(0, 1.25 * max((loss for loss in losses if math.isfinite(loss)), default=1.0) or 1.0)
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    name_buckets(axes, [_name(row) for row in rows])
