"""What the model takes for what: the confusion matrix, and the pairs that it mixes up most."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from anysize.errors import UsageError
from anysize.reporting import style
from anysize.reporting.text import compact_count, percent, shorten_middle

__all__ = ["ConfusedPair", "draw_confusion", "most_confused", "row_shares"]

MAX_COUNTED = 20  # classes with counts in the cells
MAX_NAMED = 40  # classes with names along the sides
NUM_PAIRS = 14
MAX_CELLS = 250  # along a side; more are finer than the dots of the screen
LEFT, BOTTOM, SIDE = 1.65, 1.7, 5.0  # inches


class ConfusedPair(NamedTuple):
    """One mistake and how often it was made: ``num_confused`` of the ``num_truth`` of class ``truth``."""

    truth: int
    prediction: int
    num_confused: int
    num_truth: int


def row_shares(matrix: ArrayLike) -> NDArray[np.float64]:
    """Each row divided by its sum; a row of zeros, a class of which there was nothing, stays zeros.

    Args:
        matrix: ``(K, K)`` counts, rows truth, columns prediction.

    Returns:
        ``(K, K)`` shares, 0..1.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    return shares


def most_confused(matrix: ArrayLike, num_pairs: int = NUM_PAIRS) -> list[ConfusedPair]:
    """The most frequent mistakes; of equally frequent ones the larger share of its row first, then by class.

    Args:
        matrix: ``(K, K)`` counts, rows truth, columns prediction.
        num_pairs: at most so many; pairs that never happened are left out.
    """
    counts = np.array(matrix, dtype=np.int64)
    sums = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    truths, predictions = np.nonzero(counts)
    found = counts[truths, predictions]
    order = np.lexsort((predictions, truths, -found / sums[truths], -found))[:num_pairs]
    return [ConfusedPair(int(truths[i]), int(predictions[i]), int(found[i]), int(sums[truths[i]])) for i in order]


def draw_confusion(
    path: Path,
    matrix: ArrayLike,
    classes: Sequence[str],
    *,
    title: str = "Confusion matrix",
    unit: str = "images",
) -> None:
    """Draw the matrix, right answers in blue and mistakes in orange, and list the most frequent mistakes.

    Counts are written up to 20 classes, names up to 40.

    Args:
        path: the file to write.
        matrix: ``(K, K)`` counts, rows truth, columns prediction.
        classes: the K names.
        title: the heading.
        unit: what was counted, in the plural; ``"pixels"`` for segmentation.

    Raises:
        UsageError: the matrix is not square, has negative counts, or does not fit the names.
    """
    counts = _checked(matrix, classes)
    figure = style.new_figure(11.4, 7.75)
    style.add_heading(figure, shorten_middle(title, 90), _subtitle(counts, unit))
    axes = style.add_axes(figure, LEFT, BOTTOM, SIDE, SIDE)
    _draw_cells(axes, counts)
    _name_sides(axes, classes)
    _list_pairs(figure, counts, classes)
    style.save(figure, path)


def _checked(matrix: ArrayLike, classes: Sequence[str]) -> NDArray[np.int64]:
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not len(counts):
        raise UsageError(f"the matrix has shape {counts.shape}; (K, K) with K >= 1 is needed")
    if len(classes) != len(counts):
        raise UsageError(f"the matrix has {len(counts)} rows and there are {len(classes)} classes; one name a row")
    if counts.min() < 0:
        raise UsageError(f"the matrix holds {counts.min()}; counts start at 0")
    return counts


def _subtitle(counts: NDArray[np.int64], unit: str) -> str:
    total = int(counts.sum())
    if not total:
        return f"no {unit}"
    right = int(np.trace(counts))
    filled = counts.sum(axis=1) > 0
    mean = float(np.diagonal(row_shares(counts))[filled].mean())
    return (
        f"{percent(right / total, decimals=1)} right ({right:,} of {total:,} {unit})  ·  "
        f"mean over classes {percent(mean, decimals=1)}"
    )


def _block_shares(counts: NDArray[np.int64], block: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Shares of ``block`` x ``block`` classes together, and which rows of blocks are empty.

    The mean of the right answers on the diagonal, the worst mistake elsewhere: a dark cell in a million would
    be averaged away by the screen.
    """
    if block == 1:
        return row_shares(counts), counts.sum(axis=1) == 0
    starts = np.arange(0, len(counts), block)
    shares, filled = row_shares(counts), counts.sum(axis=1) > 0
    pooled = np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)
    num_filled = np.add.reduceat(filled.astype(np.int64), starts)
    right = np.add.reduceat(np.diagonal(shares), starts)
    np.fill_diagonal(pooled, right / np.maximum(num_filled, 1))
    return pooled, num_filled == 0


def _cell_colors(shares: NDArray[np.float64], empty: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``(K, K, 3)`` colours: white to blue on the diagonal, white to orange off it, grey rows where empty.

    By the square root of the share, so that a mistake of 2 % can be seen beside 90 % of right answers.
    """
    strength = np.sqrt(shares)[..., None]
    blue, orange = np.array(to_rgb(style.BLUE)), np.array(to_rgb(style.ACCENT))
    full = np.where(np.eye(len(shares), dtype=bool)[..., None], blue, orange)
    colors: NDArray[np.float64] = 1.0 + strength * (full - 1.0)
    colors[empty] = to_rgb(style.EMPTY)
    return colors


def _draw_cells(axes: Axes, counts: NDArray[np.int64]) -> None:
    num_classes = len(counts)
    block = -(-num_classes // MAX_CELLS)
    colors = _cell_colors(*_block_shares(counts, block))
    end = len(colors) * block - 0.5
    axes.imshow(colors, aspect="equal", interpolation="nearest", extent=(-0.5, end, end, -0.5))
    axes.set_xlim(-0.5, num_classes - 0.5)
    axes.set_ylim(num_classes - 0.5, -0.5)
    together = f" (worst of {block} × {block})" if block > 1 else ""
    style.label(axes, f"Blue: right, orange: wrong; darker: more of the row{together}")
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(style.NEUTRAL)
        spine.set_linewidth(0.8)
    if num_classes > MAX_COUNTED:
        return
    for edge in np.arange(0.5, num_classes - 1):
        axes.axhline(edge, color="white", linewidth=1.2)
        axes.axvline(edge, color="white", linewidth=1.2)
    shares = row_shares(counts)
    points = float(np.clip(SIDE * 72 / num_classes * 0.36, 6.0, 13.0))
    for truth, prediction in zip(*np.nonzero(counts), strict=True):
        strong = shares[truth, prediction] > (0.35 if truth == prediction else 0.5)
        axes.text(
            int(prediction),
            int(truth),
            compact_count(float(counts[truth, prediction])),
            ha="center",
            va="center",
            fontsize=points,
            color="white" if strong else style.INK,
            family=[style.FAMILY],
        )


def _name_sides(axes: Axes, classes: Sequence[str]) -> None:
    num_classes = len(classes)
    named = num_classes <= MAX_NAMED
    if named:
        points = float(np.clip(SIDE * 72 / num_classes * 0.75, 6.0, style.FONT))
        names = [shorten_middle(name, 16) for name in classes]
        style.set_tick_names(axes, "y", range(num_classes), names, fontsize=points)
        style.set_tick_names(axes, "x", range(num_classes), names, fontsize=points, rotation=90)
        axes.tick_params(length=0)
    index = "" if named else f", class 0 to {num_classes - 1}"
    axes.set_xlabel(f"prediction{index}", fontsize=style.FONT, color=style.MUTED, labelpad=6)
    axes.set_ylabel(f"truth{index}", fontsize=style.FONT, color=style.MUTED, labelpad=6)


def _list_pairs(figure: Figure, counts: NDArray[np.int64], classes: Sequence[str]) -> None:
    axes = style.add_axes(figure, 7.0, BOTTOM, 4.1, SIDE)
    axes.set_axis_off()
    style.label(axes, "Most frequent mistakes: truth → prediction")
    axes.set_xlim(0, 1)
    axes.set_ylim(NUM_PAIRS - 0.4, -0.6)
    pairs = most_confused(counts)
    if not pairs:
        style.write(axes, 0, 0, "none" if counts.sum() else "nothing was counted", color=style.MUTED)
    for row, pair in enumerate(pairs):
        names = f"{shorten_middle(classes[pair.truth], 20)} → {shorten_middle(classes[pair.prediction], 20)}"
        style.write(axes, 0, row, names, va="center", fontsize=style.SMALL)
        style.write(
            axes,
            1,
            row,
            f"{compact_count(pair.num_confused)} of {compact_count(pair.num_truth)}",
            va="center",
            ha="right",
            color=style.MUTED,
            fontsize=style.SMALL,
        )
