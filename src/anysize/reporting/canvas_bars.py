"""Where the canvas pixels of a plan are: on which canvas, and how many of them are padding."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from anysize.reporting import style
from anysize.reporting.size_cloud import MAX_OUTLINES, OWN_COLOR, canvas_colors
from anysize.reporting.text import percent, pixels_range_text
from anysize.sizes import format_size

__all__ = ["draw_canvas_bars"]

_MOST_BARS = 10

Ints = NDArray[np.int64]


def draw_canvas_bars(
    axes: Axes,
    sizes: Ints,
    canvases: Ints,
    lies_on: Ints,
    is_own: NDArray[np.bool_],
) -> None:
    """Draw a bar for each canvas, the image pixels solid and the padding light.

    Args:
        axes: empty.
        sizes: ``(N, 2)`` heights and widths.
        canvases: ``(U, 2)`` heights and widths.
        lies_on: ``(N,)`` the number of each image's canvas.
        is_own: ``(U,)`` whether a canvas is of images' own exact size.
    """
    count = len(canvases)
    pixels = np.bincount(lies_on, minlength=count) * canvases.prod(1)
    real = np.bincount(lies_on, weights=sizes.prod(1).astype(np.float64), minlength=count)
    shared = np.flatnonzero(~is_own & (pixels > 0))
    if len(shared) > MAX_OUTLINES:
        style.label(axes, "Canvas pixels, by area of canvas (light: padding)")
        groups = _by_area(canvases, shared)
    else:
        style.label(axes, "Canvas pixels: share on each canvas (light: padding)")
        groups = _by_canvas(canvases, shared, pixels, canvas_colors(canvases, is_own), _MOST_BARS - int(is_own.any()))
    if is_own.any():
        groups.append(("own size", OWN_COLOR, np.flatnonzero(is_own)))
    rows = [(name, color, float(pixels[group].sum()), float(real[group].sum())) for name, color, group in groups]
    _draw_bars(axes, rows, float(pixels.sum()))


def _by_canvas(
    canvases: Ints, shared: Ints, pixels: Ints, colors: Sequence[str], most: int
) -> list[tuple[str, str, Ints]]:
    """A bar for each canvas, the one with the most pixels first; one for those that find no room."""
    order = shared[np.argsort(-pixels[shared], kind="stable")]
    kept = order if len(order) <= most else order[: most - 1]
    groups = [(format_size(canvases[number]), colors[number], np.array([number])) for number in kept.tolist()]
    rest = order[len(kept) :]
    return [*groups, (f"{len(rest)} others", style.NEUTRAL, rest)] if len(rest) else groups


def _by_area(canvases: Ints, shared: Ints) -> list[tuple[str, str, Ints]]:
    """A bar for each doubling of the area, or for each quadrupling and so on where they are too many."""
    exponents = np.log2(canvases[shared].prod(1))
    step = 1
    while (number := np.ceil(exponents / step)).max() - number.min() >= _MOST_BARS:
        step += 1
    groups = []
    for one in np.unique(number).tolist():
        name = pixels_range_text(2.0 ** ((one - 1) * step), 2.0 ** (one * step))
        groups.append((name, style.BLUE, shared[number == one]))
    return groups


def _draw_bars(axes: Axes, rows: list[tuple[str, str, float, float]], total: float) -> None:
    widest = max(pixels for _, _, pixels, _ in rows) / total
    axes.set_xlim(0, widest)
    axes.set_ylim(max(len(rows), 5) - 0.4, -0.6)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(axis="y", length=0)
    style.set_tick_names(axes, "y", range(len(rows)), [name for name, *_ in rows])
    for row, (_, color, pixels, real) in enumerate(rows):
        axes.barh(row, pixels / total, height=0.66, color=color, alpha=0.3, linewidth=0)
        axes.barh(row, real / total, height=0.66, color=color, linewidth=0)
        axes.annotate(
            f"{percent(pixels / total)}, {percent(1 - real / pixels)} padding",
            (pixels / total, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=style.SMALL,
            color=style.INK,
            annotation_clip=False,
            family=[style.FAMILY],
        )
