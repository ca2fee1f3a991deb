"""What the colours of a sheet mean, in as many lines as they need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from anysize.reporting import palette
from anysize.reporting.pen import line_width, write_line
from anysize.reporting.segmentation.item import Colors
from anysize.reporting.segmentation.panels import hatching, rgb

__all__ = ["Entry", "Legend", "legend_entries"]

SWATCH_HEIGHT, SWATCH_WIDTH = 16, 24
LINE, GAP, FONT = 26, 22, 14
MAX_NAME = 260  # dots; a longer name loses its middle


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A name and the ``(16, 24, 3)`` picture beside it."""

    name: str
    swatch: NDArray[np.uint8]


def legend_entries(
    occurring: Sequence[int], classes: Sequence[str], colors: Colors, *, errors: bool, ignored: bool
) -> list[Entry]:
    """The classes that occur, then what else is to be seen."""
    entries = [Entry(classes[label], _plain(colors[label])) for label in occurring]
    if errors:
        entries.append(Entry("wrong", _plain(rgb(palette.WRONG))))
    if ignored:
        entries.append(Entry("ignored", hatching((SWATCH_HEIGHT, SWATCH_WIDTH))))
    return entries


def _plain(color: Sequence[int]) -> NDArray[np.uint8]:
    return np.full((SWATCH_HEIGHT, SWATCH_WIDTH, 3), color, dtype=np.uint8)


class Legend:
    """Entries in lines of a given width.

    Args:
        entries: in their order.
        width: dots.
    """

    def __init__(self, entries: Sequence[Entry], width: int) -> None:
        self._placed: list[tuple[Entry, int, int]] = []
        x = line = 0
        self._room = min(MAX_NAME, width - SWATCH_WIDTH - 7)
        for entry in entries:
            own = SWATCH_WIDTH + 7 + min(self._room, line_width(entry.name, size=FONT))
            if x and x + own > width:
                x, line = 0, line + 1
            self._placed.append((entry, x, line))
            x += own + GAP
        self.height = LINE * (line + 1) if entries else 0
        """Dots."""

    def draw(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
        """Draw it with its left top at a place of ``sheet``."""
        for entry, offset, line in self._placed:
            x, y = left + offset, top + line * LINE + 3
            sheet.paste(Image.fromarray(entry.swatch), (x, y))
            # A white class is seen by its edge, on a sheet that is white.
            pen.rectangle((x - 1, y - 1, x + SWATCH_WIDTH, y + SWATCH_HEIGHT), outline=palette.MUTED)
            write_line(pen, (x + SWATCH_WIDTH + 7, y - 1), entry.name, size=FONT, room=self._room)
