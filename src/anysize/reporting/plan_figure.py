"""A plan at a glance: the sizes of the images, the canvases laid over them, and what padding costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.canvas_bars import draw_canvas_bars
from anysize.reporting.padding_curve import draw_padding_curve
from anysize.reporting.size_cloud import draw_sizes
from anysize.reporting.text import shorten_middle
from anysize.sizes import format_size

__all__ = ["draw_plan"]


def draw_plan(
    path: Path,
    *,
    title: str,
    sizes: ArrayLike,
    canvases: ArrayLike,
    lies_on: ArrayLike,
    is_own: ArrayLike | None = None,
    curve: Sequence[tuple[int, float]] = (),
    chosen: int | None = None,
    levels: Mapping[str, float],
) -> None:
    """Draw a plan to ``path``.

    Args:
        path: the file to write; its suffix chooses the format.
        title: the heading.
        sizes: ``(N, 2)`` true sizes ``(height, width)`` in pixels, N >= 1.
        canvases: ``(U, 2)`` the different canvases ``(height, width)``.
        lies_on: ``(N,)`` the number of each image's canvas.
        is_own: ``(U,)`` whether a canvas is of images' own exact size, beside static ones; none is by default.
        curve: numbers of static canvases, ascending, with the padding share (0..1) that each comes to.
        chosen: the number that the plan has; None for free canvases.
        levels: padding share (0..1) by the name of the way; ``free canvases`` is that of free ones.

    Raises:
        UsageError: the arguments do not fit each other.
    """
    table = _checked_sizes(sizes)
    corners = np.asarray(canvases, dtype=np.int64).reshape(-1, 2)
    where = _checked_numbers(lies_on, len(table), len(corners))
    own = np.zeros(len(corners), np.bool_) if is_own is None else np.asarray(is_own, np.bool_)
    if own.shape != (len(corners),):
        raise UsageError(f"is_own has shape {own.shape}; ({len(corners)},) is needed, one for each canvas")
    for name, share in (*levels.items(), *((f"{number} canvases", share) for number, share in curve)):
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"the padding share of {name!r} is {share}; it must lie in 0..1")
    figure = style.new_figure(12.6, 6.9)
    style.add_heading(figure, shorten_middle(title, 100), _subtitle(table, int((~own).sum()), where, own))
    # Axes at explicit places, in inches: see `style.add_axes`.
    draw_sizes(style.add_axes(figure, 0.85, 0.6, 6.1, 5.15), table, corners, where, own)
    draw_padding_curve(style.add_axes(figure, 7.7, 3.75, 2.95, 2.0), curve, chosen, levels)
    draw_canvas_bars(style.add_axes(figure, 8.55, 0.4, 2.1, 2.6), table, corners, where, own)
    style.save(figure, path)


def _checked_sizes(sizes: ArrayLike) -> NDArray[np.int64]:
    table = np.asarray(sizes, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != 2 or not len(table):
        raise UsageError(f"sizes has shape {table.shape}; (N, 2) with N >= 1 is needed, (height, width) a row")
    if table.min() < 1:
        raise UsageError(f"sizes[{int(np.argmin(table.min(1)))}] is below 1 pixel; heights and widths start at 1")
    return table


def _checked_numbers(lies_on: ArrayLike, num_images: int, num_canvases: int) -> NDArray[np.int64]:
    where = np.asarray(lies_on, dtype=np.int64)
    if where.shape != (num_images,):
        raise UsageError(f"lies_on has shape {where.shape}; ({num_images},) is needed, one number for each image")
    if where.min() < 0 or where.max() >= num_canvases:
        raise UsageError(f"lies_on goes from {where.min()} to {where.max()}; there are {num_canvases} canvases")
    return where


def _subtitle(sizes: NDArray[np.int64], num_static: int, where: NDArray[np.int64], own: NDArray[np.bool_]) -> str:
    areas = sizes.prod(1)
    smallest, largest = sizes[areas.argmin()], sizes[areas.argmax()]
    if areas.min() == areas.max():
        spread = f"all of {format_size(smallest)} pixels" if len(np.unique(sizes, axis=0)) == 1 else ""
    else:
        spread = f"from {format_size(smallest)} to {format_size(largest)} pixels"
    num_own = int(own[where].sum())
    parts = [
        _counted(len(sizes), "image", "images"),
        f"{spread} (height × width)" if spread else "",
        _counted(num_static, "canvas", "canvases"),
        _counted(num_own, "image", "images") + " on canvases of their own" if num_own else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
