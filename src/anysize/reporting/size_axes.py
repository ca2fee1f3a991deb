"""What figures by image size have in common: one place a bucket, a share upwards, and a line for all images."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from anysize.reporting import style

__all__ = ["draw_overall", "name_buckets", "scale_shares", "sizes_verdict"]

_MOST_NAMED = 3


def name_buckets(axes: Axes, names: Sequence[str], counts: Sequence[int] | None = None) -> None:
    """Write a name under each place, and under that the number of images."""
    style.set_tick_names(axes, "x", range(len(names)), names, fontsize=style.SMALL)
    room = max(0.0, 3.0 - len(names)) / 2  # one bar alone is no wall
    axes.set_xlim(-0.6 - room, len(names) - 0.4 + room)
    axes.tick_params(axis="x", length=0)
    for place, count in enumerate(counts or ()):
        style.write(
            axes,
            place,
            -0.11,
            f"{count:,} image" if count == 1 else f"{count:,} images",
            ha="center",
            va="top",
            fontsize=style.SMALL,
            color=style.MUTED,
            transform=axes.get_xaxis_transform(),
        )


def scale_shares(axes: Axes) -> None:
    """Scale the upward axis for shares, 0 to 100 %."""
    axes.set_ylim(0, 1.05)
    style.set_tick_names(axes, "y", (0, 0.25, 0.5, 0.75, 1), ("0 %", "25 %", "50 %", "75 %", "100 %"))
    axes.grid(axis="y", color=style.GRID, linewidth=0.8)


def draw_overall(axes: Axes, share: float) -> None:
    """Draw a line at the share of all images."""
    style.write(
        axes,
        1.0,
        share,
        " all",
        transform=axes.get_yaxis_transform(),
        color=style.MUTED,
        va="center",
        fontsize=style.SMALL,
    )
    axes.axhline(share, color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def sizes_verdict(overall: str, weak: Sequence[str]) -> str:
    """One sentence: which buckets lie clearly below the share over all images, ``overall``."""
    if not weak:
        return f"{overall} over all images; no size is clearly below"
    names = ", ".join(weak[:_MOST_NAMED]) + (", …" if len(weak) > _MOST_NAMED else "")
    return f"{overall} over all images; clearly below: {names}"
