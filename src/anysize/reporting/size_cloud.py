"""The sizes of a collection as a cloud, with the canvases of a plan over it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from anysize.reporting import style
from anysize.reporting.labels import LABEL_POINTS, place_labels
from anysize.reporting.text import percent
from anysize.sizes import format_size

__all__ = ["draw_sizes", "needs_log_scale"]

MAX_DOTS = 3_000  # different sizes; with more, dots hide each other and cells are counted instead
MAX_OUTLINES = 16  # canvases; with more, only their corners are drawn
LOG_FROM_RATIO = 12.0


def needs_log_scale(sizes: NDArray[np.int64]) -> bool:
    """Whether the longest side is so many times the shortest that a linear axis would hide the small images.

    Args:
        sizes: ``(N, 2)`` heights and widths, in pixels.
    """
    return bool(sizes.max() / sizes.min() > LOG_FROM_RATIO)


def draw_sizes(
    axes: Axes, sizes: NDArray[np.int64], canvases: Sequence[tuple[int, int]], counts: Sequence[int]
) -> None:
    """Draw the images as a cloud and the canvases over it.

    Args:
        axes: empty; width goes to the right, height upwards.
        sizes: ``(N, 2)`` heights and widths, in pixels.
        canvases: ``(height, width)`` of each, in pixels.
        counts: the number of images on each canvas.
    """
    corners = np.asarray(canvases, dtype=np.int64).reshape(-1, 2)
    _scale_axes(axes, np.concatenate([sizes, corners]))
    meaning = _draw_cloud(axes, sizes)
    _set_ticks(axes)  # after the cloud, for hexbin sets the scales anew, and with them the ticks
    if len(corners):
        _draw_canvases(axes, corners, np.asarray(counts, dtype=np.int64))
        meaning += "; orange: canvases"
    style.label(axes, f"Image sizes ({meaning})")
    axes.set_xlabel("width, pixels", fontsize=style.FONT, color=style.MUTED)
    axes.set_ylabel("height, pixels", fontsize=style.FONT, color=style.MUTED)
    axes.grid(color=style.GRID, linewidth=0.8)


def _scale_axes(axes: Axes, all_sizes: NDArray[np.int64]) -> None:
    """The same kind of scale on both axes, wide enough for images and canvases."""
    log = needs_log_scale(all_sizes)
    for axis, values in (("x", all_sizes[:, 1]), ("y", all_sizes[:, 0])):
        low, high = float(values.min()), float(values.max())
        if log:
            getattr(axes, f"set_{axis}scale")("log")
            getattr(axes, f"set_{axis}lim")(low / 1.25, high * 1.4)
        else:
            getattr(axes, f"set_{axis}lim")(0, high * 1.1)


def _set_ticks(axes: Axes) -> None:
    """Plain pixel numbers, also on a log scale."""
    for ruler, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axes.get_xscale() == "log":
            steps = (1.0, 2.0, 5.0) if high / low < 1_000 else (1.0,)
            ruler.set_major_locator(LogLocator(subs=steps))
            ruler.set_minor_locator(NullLocator())
            ruler.set_minor_formatter(NullFormatter())
        else:
            ruler.set_major_locator(MaxNLocator(7, integer=True))
        ruler.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_cloud(axes: Axes, sizes: NDArray[np.int64]) -> str:
    """Draw the images; return what the marks mean.

    Real collections repeat a few sizes many times (cameras do), so equal sizes are one dot with an area by
    their number: it is as readable for 100 images as for a million.
    """
    distinct, counts = np.unique(sizes, axis=0, return_counts=True)
    if len(distinct) <= MAX_DOTS:
        areas = 9 + 420 * counts / max(len(sizes), 60)
        order = np.argsort(-areas, kind="stable")  # small dots over large ones
        alpha = 0.35 if len(distinct) > 300 else 0.5
        axes.scatter(
            distinct[order, 1],
            distinct[order, 0],
            s=areas[order],
            color=style.BLUE,
            alpha=alpha,
            linewidths=0,
        )
        return "dot area: number of images"
    scale: Literal["linear", "log"] = "log" if axes.get_xscale() == "log" else "linear"
    extent = axes.get_xlim() + axes.get_ylim()
    cells = axes.hexbin(
        sizes[:, 1],
        sizes[:, 0],
        gridsize=(60, 36),
        mincnt=1,
        cmap=style.BLUES,
        linewidths=0.1,
        xscale=scale,
        yscale=scale,
        extent=tuple(np.log10(extent)) if scale == "log" else extent,
    )
    fullest = int(np.asarray(cells.get_array()).max())
    cells.set_norm(LogNorm(1, max(2, fullest)))
    return f"light: 1 image in a cell, dark: {fullest:,}"


def _draw_canvases(axes: Axes, corners: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    many = len(corners) > MAX_OUTLINES
    low_x, low_y = axes.get_xlim()[0], axes.get_ylim()[0]
    if not many:
        for height, width in corners:
            # From the axes' own corner: on a log scale there is no zero to start at.
            axes.add_patch(
                Rectangle(
                    (low_x, low_y),
                    width - low_x,
                    height - low_y,
                    fill=False,
                    edgecolor=style.ACCENT,
                    linewidth=1.0,
                    alpha=0.6,
                )
            )
    axes.scatter(
        corners[:, 1],
        corners[:, 0],
        s=7 if many else 22,
        marker="s",
        color=style.ACCENT,
        edgecolors="white",
        linewidths=0.3 if many else 0.8,
        alpha=0.6 if many else 1.0,
        zorder=4,
    )
    if not many:
        _name_canvases(axes, corners, counts)


def _name_canvases(axes: Axes, corners: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    total = max(1, int(counts.sum()))
    order = np.argsort(-counts, kind="stable")
    names = [f"{format_size(corners[i])}  {percent(counts[i] / total)}" for i in order]
    points = axes.transData.transform(corners[order][:, ::-1].astype(float))
    window = axes.get_window_extent().extents
    places = place_labels(points, names, window, style.DPI)
    for (height, width), name, place in zip(corners[order], names, places, strict=True):
        if place is None:
            continue
        shift = (-1 if place.ha == "right" else 1, 2 if place.va == "bottom" else -2)
        axes.annotate(
            name,
            (float(width), float(height)),
            xytext=shift,
            textcoords="offset points",
            ha=place.ha,
            va=place.va,
            fontsize=LABEL_POINTS,
            color=style.ACCENT_INK,
            zorder=5,
            annotation_clip=False,
            family=[style.FAMILY],
            path_effects=[withStroke(linewidth=2.2, foreground="white", alpha=0.85)],
        )
