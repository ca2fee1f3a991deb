"""How much padding each number of canvases costs, beside the usual ways."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from anysize.reporting import style
from anysize.reporting.text import percent

__all__ = ["draw_padding_curve", "spread_apart"]

_FREE = "free canvases"


def draw_padding_curve(
    axes: Axes, curve: Sequence[tuple[int, float]], chosen: int | None, levels: Mapping[str, float]
) -> None:
    """Draw the curve, with the chosen number marked and a level line for each other way.

    Args:
        axes: empty.
        curve: numbers of canvases, ascending, and padding shares.
        chosen: one of the numbers; None for free canvases, which are one of the levels.
        levels: padding share by the name of the way.
    """
    style.label(axes, "Padding, by number of static canvases (share of all pixels computed)")
    top = max([0.02, *levels.values(), *(share for _, share in curve)]) * 1.15
    steps = np.arange(len(curve))
    right = max(len(curve) - 1, 1)
    axes.set_xlim(-0.35, right + 0.95)  # room for the last figure
    axes.set_ylim(0, top)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    style.set_tick_names(axes, "x", steps, [str(number) for number, _ in curve])
    _draw_levels(axes, levels, chosen is None, top)
    shares = [share for _, share in curve]
    axes.plot(steps, shares, color=style.BLUE, linewidth=1.6, marker="o", markersize=4.5, zorder=3, clip_on=False)
    for step, (number, share) in enumerate(curve):
        mine = number == chosen
        if mine:
            axes.plot(step, share, marker="o", markersize=10, color=style.ACCENT, zorder=4, clip_on=False)
        axes.annotate(
            percent(share),
            (step, share),
            xytext=(5, 5) if mine else (3, 3),  # to the right of a falling curve
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=style.FONT if mine else style.SMALL,
            weight="bold" if mine else "normal",
            color=style.ACCENT_INK if mine else style.INK,
            zorder=5,
            family=[style.FAMILY],
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _draw_levels(axes: Axes, levels: Mapping[str, float], free_is_chosen: bool, top: float) -> None:
    right = axes.get_xlim()[1]
    heights = spread_apart([share / top for share in levels.values()], 0.085)
    for (name, share), height in zip(levels.items(), heights, strict=True):
        mine = name == _FREE and free_is_chosen
        axes.axhline(
            share,
            color=style.ACCENT if mine else style.NEUTRAL,
            linewidth=2.0 if mine else 1.1,
            linestyle="-" if mine else (0, (4, 3)),
            zorder=1,
        )
        style.write(
            axes,
            right + 0.12,
            height * top,
            f"{percent(share)}  {name}",
            ha="left",
            va="center",
            fontsize=style.SMALL,
            color=style.ACCENT_INK if mine else style.MUTED,
            weight="bold" if mine else "normal",
        )


def spread_apart(heights: Sequence[float], least: float) -> list[float]:
    """Move heights so that neighbours are ``least`` apart, each as little as may be, in the order they are in.

    >>> spread_apart([0.0, 0.5, 0.5], 0.25)
    [0.0, 0.375, 0.625]
    """
    order = np.argsort(heights, kind="stable")
    groups: list[list[float]] = []  # of neighbours that touch: the sum of their wishes, and how many they are
    for wish in np.asarray(heights, dtype=np.float64)[order]:
        groups.append([float(wish), 1])
        while len(groups) > 1 and _bottom(groups[-1], least) < _bottom(groups[-2], least) + groups[-2][1] * least:
            total, count = groups.pop()
            groups[-1] = [groups[-1][0] + total, groups[-1][1] + count]
    moved = [_bottom(group, least) + least * number for group in groups for number in range(int(group[1]))]
    placed = [0.0] * len(moved)
    for number, height in zip(order.tolist(), moved, strict=True):
        placed[number] = height
    return placed


def _bottom(group: Sequence[float], least: float) -> float:
    total, count = group
    return total / count - least * (count - 1) / 2
