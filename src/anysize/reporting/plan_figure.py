"""A plan at a glance: the sizes of the images, the canvases laid over them, and what padding costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.size_cloud import draw_sizes
from anysize.reporting.text import percent, shorten_middle
from anysize.sizes import format_size

__all__ = ["draw_plan"]


def draw_plan(
    path: Path,
    *,
    sizes: ArrayLike,
    canvases: Sequence[tuple[int, int]],
    canvas_counts: Sequence[int],
    shares: Mapping[str, float],
    title: str,
    highlight: str | None = None,
) -> None:
    """Draw a plan to ``path``.

    Args:
        path: the file to write; its suffix chooses the format.
        sizes: ``(N, 2)`` true sizes ``(height, width)`` in pixels, N >= 1.
        canvases: the different canvases ``(height, width)``; none is allowed.
        canvas_counts: the number of images on each canvas, in the same order.
        shares: padding share (0..1) by the name of the way, drawn in this order from the top.
        title: the heading.
        highlight: the way to colour; the first one where none is given.

    Raises:
        UsageError: the arguments do not fit each other.
    """
    table = _checked_sizes(sizes)
    if len(canvases) != len(canvas_counts):
        raise UsageError(
            f"there are {len(canvases)} canvases and {len(canvas_counts)} canvas_counts; "
            "one count for each canvas is needed"
        )
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"the padding share of {name!r} is {share}; it must lie in 0..1")
    if highlight is not None and highlight not in shares:
        raise UsageError(f"highlight is {highlight!r}; it must be one of {', '.join(shares) or 'no shares'}")
    figure = style.new_figure(11, 5.3)
    style.add_heading(figure, shorten_middle(title, 90), _subtitle(table, canvases))
    draw_sizes(style.add_axes(figure, 0.85, 0.6, 5.9, 3.6), table, canvases, canvas_counts)
    bars_height = min(3.6, 0.8 * len(shares))
    _draw_shares(style.add_axes(figure, 7.35, 4.2 - bars_height, 2.75, bars_height), shares, highlight)
    style.save(figure, path)


def _checked_sizes(sizes: ArrayLike) -> NDArray[np.int64]:
    table = np.asarray(sizes, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != 2 or not len(table):
        raise UsageError(f"sizes has shape {table.shape}; (N, 2) with N >= 1 is needed, (height, width) a row")
    if table.min() < 1:
        raise UsageError(f"sizes[{int(np.argmin(table.min(1)))}] is below 1 pixel; heights and widths start at 1")
    return table


def _subtitle(sizes: NDArray[np.int64], canvases: Sequence[tuple[int, int]]) -> str:
    areas = sizes.prod(1)
    smallest, largest = sizes[areas.argmin()], sizes[areas.argmax()]
    if areas.min() == areas.max():
        spread = f"all of {format_size(smallest)} pixels" if len(np.unique(sizes, axis=0)) == 1 else ""
    else:
        spread = f"from {format_size(smallest)} to {format_size(largest)} pixels"
    parts = [_counted(len(sizes), "image", "images"), f"{spread} (height × width)" if spread else ""]
    if canvases:
        parts.append(_counted(len(canvases), "canvas", "canvases"))
    return "  ·  ".join(part for part in parts if part)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _draw_shares(axes: Axes, shares: Mapping[str, float], highlight: str | None) -> None:
    style.label(axes, "Padding share of all pixels computed")
    names = list(shares)
    chosen = highlight if highlight is not None else next(iter(names), None)
    widest = max(shares.values(), default=0.0)
    axes.set_xlim(0, max(widest, 0.01))
    axes.set_ylim(len(names) - 0.25, -0.55)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for row, name in enumerate(names):
        own = name == chosen
        axes.barh(row + 0.16, shares[name], height=0.36, color=style.BLUE if own else style.NEUTRAL)
        style.write(axes, 0, row - 0.1, shorten_middle(name, 40), va="bottom", weight="bold" if own else "normal")
        axes.annotate(
            percent(shares[name]),
            (shares[name], row + 0.16),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=style.FONT + 1,
            weight="bold" if own else "normal",
            color=style.INK,
            annotation_clip=False,
            family=[style.FAMILY],
        )
