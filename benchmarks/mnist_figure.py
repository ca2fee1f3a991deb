"""The figure of ``mnist_trio.py``: accuracy and loss by epoch, seconds an epoch, accuracy by size."""

import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from anysize.reporting import style

COLORS = {"mnist_dense": style.INK, "mnist_fcn": style.BLUE, "mnist_anysize": style.ACCENT}
KERAS = (0, (2, 2))
ALONE = (0, (4, 2))


def draw_trio(path: Path, results: dict[str, Any], others: dict[str, Any]) -> None:
    """Write the figure.

    Args:
        path: the file.
        results: by network, rows of ``ours`` and ``keras`` by epoch.
        others: by network, accuracies by size.
    """
    with_keras = any(result["keras"] for result in results.values())
    epochs = max(len(result["ours"]) for result in results.values())
    figure = style.new_figure(11, 7.0)
    subtitle = "solid: anysize, dashed: Keras with the same initial weights and batches" if with_keras else "anysize"
    style.add_heading(figure, "Three classifiers of digits", f"{epochs} epochs on MNIST  ·  {subtitle}")
    accuracy = style.add_axes(figure, 0.85, 3.9, 4.5, 2.0)
    loss = style.add_axes(figure, 6.2, 3.9, 4.5, 2.0)
    sizes = style.add_axes(figure, 0.85, 0.6, 4.5, 2.2)
    seconds = style.add_axes(figure, 7.3, 0.6, 3.4, 2.2)
    _draw_epochs(accuracy, results, "test_accuracy", "Test accuracy by epoch")
    _percent(accuracy)
    _draw_epochs(loss, results, "test_loss", "Test loss by epoch")
    lines = [Line2D([], [], color=color, linewidth=1.6, label=name) for name, color in COLORS.items()]
    _legend(figure, lines, (0.98, 0.93), 3)
    _draw_sizes(sizes, others)
    _draw_seconds(seconds, results)
    style.save(figure, path)


def _draw_epochs(axes: Axes, results: dict[str, Any], key: str, title: str) -> None:
    style.label(axes, title)
    for network, result in results.items():
        for way, dashes in (("ours", "solid"), ("keras", KERAS)):
            rows = result[way]
            axes.plot(
                [row["epoch"] for row in rows],
                [row[key] for row in rows],
                color=COLORS[network],
                linestyle=dashes,
                linewidth=1.6,
                marker="o",
                markersize=3.5,
                markerfacecolor=COLORS[network] if way == "ours" else "white",
            )
    axes.set_xlabel("epoch", fontsize=style.FONT, color=style.MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)


def _draw_sizes(axes: Axes, others: dict[str, Any]) -> None:
    style.label(axes, "Test accuracy by size (px)")
    sides: set[int] = set()
    for network, result in others.items():
        mixed = result["trained_on_mixed_sizes"]["by_size"]
        for found, dashes, filled in ((mixed, "solid", True), (result["trained_at_28"], ALONE, False)):
            sides |= set(found)
            axes.plot(
                list(found),
                list(found.values()),
                color=COLORS[network],
                linestyle=dashes,
                linewidth=1.6,
                marker="o",
                markersize=4,
                markerfacecolor=COLORS[network] if filled else "white",
            )
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(sorted(sides)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _percent(axes)
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)
    ways: list[tuple[str, Any]] = [("trained mixed", "solid"), ("trained at 28", ALONE)]
    lines = [Line2D([], [], color=style.MUTED, linestyle=dashes, linewidth=1.6, label=name) for name, dashes in ways]
    _legend(axes, lines, (1.0, 1.0), 2)


def _draw_seconds(axes: Axes, results: dict[str, Any]) -> None:
    style.label(axes, "Seconds an epoch (median; less is better)")
    names, places = [], []
    place = 0.0
    for network, result in results.items():
        for way in ("ours", "keras"):
            rows = result[way]
            if not rows:
                continue
            value = statistics.median(row["seconds"] for row in rows[1:] or rows)
            color = COLORS[network]
            axes.barh(place, value, height=0.75, facecolor=color if way == "ours" else "white", edgecolor=color)
            style.write(axes, value, place, f" {value:.1f}", va="center", fontsize=style.SMALL)
            names.append(f"{network}, {'anysize' if way == 'ours' else 'Keras'}")
            places.append(place)
            place += 1
        place += 0.5
    style.set_tick_names(axes, "y", places, names, fontsize=style.SMALL, color=style.INK)
    axes.margins(x=0.15)
    axes.invert_yaxis()  # the first on top
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def _legend(owner: Axes | Figure, lines: list[Line2D], corner: tuple[float, float], columns: int) -> None:
    """Name lines in one row whose lower right corner lies at ``corner``."""
    owner.legend(
        handles=lines,
        loc="lower right",
        bbox_to_anchor=corner,
        ncols=columns,
        frameon=False,
        borderaxespad=0.2,
        labelcolor=style.INK,
        handlelength=2.2,
        columnspacing=1.4,
        prop={"family": style.FAMILY, "size": style.FONT},
    )
