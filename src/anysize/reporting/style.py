"""How all figures look: colours, fonts and sizes, and the only place where a figure is made and saved.

Only matplotlib's object-oriented interface is used, without pyplot and without touching ``rcParams``: a
figure can be drawn in any thread, without a display, in a process whose own figures stay as they are.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from anysize.atomic import atomic_path
from anysize.reporting.fonts import BASE_FAMILY, families_for, printable
from anysize.reporting.palette import ACCENT, ACCENT_INK, BLUE, EMPTY, GRID, INK, MUTED, NEUTRAL

__all__ = [
    "ACCENT",
    "ACCENT_INK",
    "BLUE",
    "BLUES",
    "DPI",
    "EMPTY",
    "FAMILY",
    "FONT",
    "GRID",
    "INK",
    "MUTED",
    "NEUTRAL",
    "SMALL",
    "TITLE",
    "add_axes",
    "add_heading",
    "label",
    "new_figure",
    "ring",
    "save",
    "set_tick_names",
    "write",
]

# From light, so that a single image is seen on white, to dark.
BLUES = LinearSegmentedColormap.from_list("anysize_blues", ["#BBD9EC", "#4F9CCB", BLUE, "#04395A"])

# Points at DPI dots an inch: a 10-inch figure is 1,400 pixels wide, as on a laptop.
DPI = 140
TITLE, FONT, SMALL = 13.0, 9.5, 8.5
FAMILY = BASE_FAMILY


def new_figure(width: float, height: float) -> Figure:
    """A white figure of ``width`` x ``height`` inches on an Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the bottom left; only two thin spines.

    Places are explicit: an automatic layout warns, or shrinks the axes to nothing, over long names.
    """
    total_width, total_height = figure.get_size_inches()
    place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    axes = figure.add_axes(place, facecolor="white")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(NEUTRAL)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(
        which="both",
        color=NEUTRAL,
        labelcolor=MUTED,
        labelsize=SMALL,
        length=3,
        width=0.8,
        labelfontfamily=BASE_FAMILY,
    )
    axes.set_axisbelow(True)
    return axes


def write(target: Axes | Figure, x: float, y: float, text: str, **properties: Any) -> Any:
    """Write ``text`` as it is: no dollar sign starts a formula, and no glyph is missing."""
    properties = {"color": INK, "fontsize": FONT, **properties}
    shown = printable(text)
    return target.text(x, y, shown, parse_math=False, family=families_for(shown), **properties)


def add_heading(figure: Figure, title: str, subtitle: str = "", *, left: float = 0.35) -> None:
    """A title and a line under it, at ``left`` inches."""
    width, height = figure.get_size_inches()
    write(figure, left / width, 1 - 0.22 / height, title, fontsize=TITLE, weight="bold", va="top")
    if subtitle:
        write(figure, left / width, 1 - 0.52 / height, subtitle, color=MUTED, va="top")


def label(axes: Axes, text: str) -> None:
    """What the axes show, above them on the left, where it is read first."""
    axes.set_title(text, loc="left", fontsize=FONT, color=INK, pad=8, parse_math=False, family=families_for(text))


def ring(axes: Axes, x: float, y: float) -> None:
    """Draw a ring around the point of a line that a figure is about."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor=ACCENT,
        markeredgewidth=1.8,
        zorder=5,
        clip_on=False,
    )


def set_tick_names(axes: Axes, axis: str, positions: Iterable[float], names: Iterable[str], **properties: Any) -> None:
    """Names from outside as tick labels of ``axis`` ("x" or "y")."""
    shown = [printable(name) for name in names]
    families = families_for("".join(shown))
    getattr(axes, f"set_{axis}ticks")(list(positions))
    getattr(axes, f"set_{axis}ticklabels")(shown, parse_math=False, family=families, **properties)


def save(figure: Figure, path: Path) -> None:
    """Write the figure whole or not at all; the suffix of ``path`` chooses the format.

    The software's name is left out of PNG files: the same data give the same bytes.
    """
    metadata = {"Software": None} if path.suffix.lower() == ".png" else None
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white", metadata=metadata)
