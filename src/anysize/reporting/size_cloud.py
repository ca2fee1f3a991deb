"""The sizes of a collection as a cloud, with the canvases of a plan over it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_hex
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from anysize.reporting import style
from anysize.reporting.labels import LABEL_POINTS, place_labels
from anysize.reporting.text import percent
from anysize.sizes import format_size

__all__ = ["MAX_OUTLINES", "OWN_COLOR", "canvas_colors", "draw_sizes", "needs_log_scale"]

MAX_DOTS = 3_000  # different sizes; with more, dots hide each other and cells are counted instead
MAX_OUTLINES = 32  # canvases; with more, only their corners are drawn, and none has a colour of its own
MAX_CORNERS = 500  # canvases; more than that would cover the images
MAX_COLORED = 6_000  # images drawn one by one in the colour of their canvas; of more, a uniform draw
MAX_AVOIDED = 60  # marks of own canvases that no label covers; more of them leave no room
OWN_COLOR = style.ACCENT
LOG_FROM_RATIO = 12.0


def needs_log_scale(sizes: NDArray[np.int64]) -> bool:
    """Whether the longest side is so many times the shortest that a linear axis would hide the small images.

    Args:
        sizes: ``(N, 2)`` heights and widths, in pixels.
    """
    return bool(sizes.max() / sizes.min() > LOG_FROM_RATIO)


def canvas_colors(canvases: NDArray[np.int64], is_own: NDArray[np.bool_]) -> list[str]:
    """A colour for each canvas, from dark to light by area; one for all where they are too many to tell apart."""
    static = np.flatnonzero(~is_own)
    colors = [OWN_COLOR if own else style.BLUE for own in is_own]
    if 1 < len(static) <= MAX_OUTLINES:
        order = static[np.argsort(canvases[static].prod(1), kind="stable")]
        # Without the ends of the map: the yellow one is hardly seen on white.
        for number, place in zip(order.tolist(), np.linspace(0.05, 0.88, len(order)), strict=True):
            colors[number] = to_hex(colormaps["viridis"](place))
    return colors


def draw_sizes(
    axes: Axes,
    sizes: NDArray[np.int64],
    canvases: NDArray[np.int64],
    lies_on: NDArray[np.int64],
    is_own: NDArray[np.bool_],
) -> None:
    """Draw the images as a cloud and the canvases over it; a few canvases in colours, with their images in the same.

    Args:
        axes: empty; width goes to the right, height upwards.
        sizes: ``(N, 2)`` heights and widths, in pixels.
        canvases: ``(U, 2)`` heights and widths.
        lies_on: ``(N,)`` the number of each image's canvas.
        is_own: ``(U,)`` whether a canvas is of images' own exact size; those are not drawn.
    """
    shared = np.flatnonzero(~is_own)
    colors = canvas_colors(canvases, is_own)
    _scale_axes(axes, np.concatenate([sizes, canvases[shared]]))
    if len(shared) <= MAX_OUTLINES:
        meaning = _draw_colored(axes, sizes, lies_on, is_own, colors)
    else:
        seen = "; orange: canvases" if len(shared) <= MAX_CORNERS else "; canvases not drawn: they cover it"
        meaning = _draw_cloud(axes, sizes) + seen
    _set_ticks(axes)  # after the cloud, for hexbin sets the scales anew, and with them the ticks
    if 0 < len(shared) <= MAX_CORNERS:
        counts = np.bincount(lies_on, minlength=len(canvases))[shared]
        own = np.unique(sizes[is_own[lies_on]], axis=0)
        _draw_canvases(axes, canvases[shared], counts, len(sizes), [colors[number] for number in shared], own)
    style.label(axes, f"Image sizes ({meaning})")
    axes.set_xlabel("width, pixels", fontsize=style.FONT, color=style.MUTED)
    axes.set_ylabel("height, pixels", fontsize=style.FONT, color=style.MUTED)
    axes.grid(color=style.GRID, linewidth=0.8)


def _draw_colored(
    axes: Axes, sizes: NDArray[np.int64], lies_on: NDArray[np.int64], is_own: NDArray[np.bool_], colors: Sequence[str]
) -> str:
    """Draw each image in the colour of its canvas; return what the marks mean."""
    drawn = np.arange(len(sizes))
    meaning = "colour: the canvas it lies on"
    if len(sizes) > MAX_COLORED:
        drawn = np.sort(np.random.default_rng(0).choice(len(sizes), MAX_COLORED, replace=False))
        meaning = f"{MAX_COLORED:,} of {len(sizes):,} drawn; colour: canvas"
    # Equal sizes on equal canvases are one dot with an area by their number.
    on = np.where(is_own[lies_on[drawn]], -1, lies_on[drawn])
    table, counts = np.unique(np.column_stack([sizes[drawn], on]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")  # small dots over large ones
    table, counts = table[order], counts[order]
    own = table[:, 2] < 0
    areas = 10 + 420 * counts / max(len(drawn), 60)
    shade = [colors[number] for number in table[~own, 2]]
    alpha = 0.35 if len(table) > 1500 else 0.6
    axes.scatter(table[~own, 1], table[~own, 0], s=areas[~own], c=shade, alpha=alpha, linewidths=0)
    if own.any():
        many = int(own.sum()) > MAX_AVOIDED
        axes.scatter(
            table[own, 1],
            table[own, 0],
            s=10 if many else 26,
            marker="x",
            color=OWN_COLOR,
            linewidths=0.8 if many else 1.2,
            alpha=0.55 if many else 1.0,
            zorder=1.5 if many else 4,
        )
        meaning += "; ×: own canvas"
    return meaning


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


def _draw_canvases(
    axes: Axes,
    corners: NDArray[np.int64],
    counts: NDArray[np.int64],
    num_images: int,
    colors: Sequence[str],
    own: NDArray[np.int64],
) -> None:
    low_x, low_y = axes.get_xlim()[0], axes.get_ylim()[0]
    if len(corners) > MAX_OUTLINES:
        axes.scatter(
            corners[:, 1], corners[:, 0], s=7, marker="s", color=style.ACCENT, linewidths=0, alpha=0.6, zorder=4
        )
        return
    for (height, width), color in zip(corners, colors, strict=True):
        # Two edges from the axes' own corner: on a log scale there is no zero to start at.
        axes.plot([low_x, width, width], [height, height, low_y], color=color, linewidth=1.3, alpha=0.9)
    axes.scatter(
        corners[:, 1], corners[:, 0], s=24, marker="s", c=list(colors), edgecolors="white", linewidths=0.8, zorder=4
    )
    _name_canvases(axes, corners, counts, num_images, own[:MAX_AVOIDED])


def _name_canvases(
    axes: Axes, corners: NDArray[np.int64], counts: NDArray[np.int64], num_images: int, avoid: NDArray[np.int64]
) -> None:
    order = np.argsort(-counts, kind="stable")
    names = [f"{format_size(corners[i])}  {percent(counts[i] / num_images)}" for i in order]
    points = axes.transData.transform(corners[order][:, ::-1].astype(float))
    window = axes.get_window_extent().extents
    marks = axes.transData.transform(avoid[:, ::-1].astype(float)) if len(avoid) else None
    places = place_labels(points, names, window, style.DPI, avoid=marks)
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
            color=style.INK,
            zorder=5,
            annotation_clip=False,
            family=[style.FAMILY],
            path_effects=[withStroke(linewidth=2.4, foreground="white", alpha=0.9)],
        )
