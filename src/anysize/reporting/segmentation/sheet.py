"""A sheet of segmented images: a row each, with its mask, the prediction and the errors in it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from anysize.atomic import atomic_path
from anysize.data.masks.coding import IGNORED
from anysize.errors import UsageError
from anysize.reporting import palette as shades
from anysize.reporting.pen import line_width, write_line
from anysize.reporting.segmentation.item import Colors, OverlayItem, check_colors, occurring_classes
from anysize.reporting.segmentation.legend import Entry, Legend, legend_entries
from anysize.reporting.segmentation.panels import (
    blend,
    color_labels,
    error_map,
    resize_labels,
    resize_picture,
    shown_size,
)
from anysize.reporting.text import percent
from anysize.sizes import format_size

__all__ = ["ROWS_NOTE", "draw_overlay_sheet", "render_overlay_sheet"]

ROWS_NOTE = "anysize rows"
"""The text of a PNG file that tells where each row ends, in dots from the top: a sheet can be cut between rows."""
MARGIN, GAP, HEADING, CAPTION, ROW_GAP = 26, 14, 86, 26, 20
LEAST_WIDTH = 640  # of what is drawn: the heading and the captions are lines of words
LEAST_COLUMN = 110
LEAST_ROW = 20  # a strip may be one dot high
WITH_PREDICTIONS = ("image", "truth", "prediction", "errors")
WITHOUT = ("image", "truth", "truth over image")


def draw_overlay_sheet(
    path: Path,
    items: Sequence[OverlayItem],
    palette: Colors,
    classes: Sequence[str],
    title: str = "Segmentation",
) -> None:
    """Draw the images to ``path``, a row each, in their order.

    A row shows the image, the truth, the prediction and a map of the errors; without any prediction it shows the mask
    over the image instead. All keep their shape; tiny ones are enlarged by an integer, large ones shrunk, the masks by
    the label under the centre of each dot. Ignored pixels are hatched; the legend names the classes that occur.

    Args:
        path: the file to write.
        items: at least one.
        palette: the K colours of the classes.
        classes: the K names.
        title: the heading.

    Raises:
        UsageError: there are no items, or a mask holds what is no class.
    """
    sheet, ends = _rendered(items, palette, classes, title)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".png":
            notes = PngInfo()
            notes.add_text(ROWS_NOTE, " ".join(map(str, ends)))
            sheet.save(temporary, compress_level=3, pnginfo=notes)  # drawn each epoch
        else:
            sheet.save(temporary, quality=90)


def render_overlay_sheet(
    items: Sequence[OverlayItem], palette: Colors, classes: Sequence[str], title: str = "Segmentation"
) -> NDArray[np.uint8]:
    """The sheet of :func:`draw_overlay_sheet` as ``(H, W, 3)``. The legend is its foot.

    So sheets of the same images differ in height at most, and nothing moves from one epoch to the next.
    """
    return np.array(_rendered(items, palette, classes, title)[0])


def _rendered(
    items: Sequence[OverlayItem], palette: Colors, classes: Sequence[str], title: str
) -> tuple[Image.Image, list[int]]:
    """The sheet, and where each of its rows ends, from the top."""
    if not items:
        raise UsageError("there are no images; a sheet needs at least one")
    check_colors(items, palette, classes)
    columns = WITH_PREDICTIONS if any(item.prediction is not None for item in items) else WITHOUT
    sizes = [shown_size(item.true_size) for item in items]
    step = max(LEAST_COLUMN, *(width for _, width in sizes)) + GAP
    inner = max(LEAST_WIDTH, step * len(columns) - GAP)
    legend = Legend(_entries(items, classes, palette), inner)
    height = HEADING + sum(CAPTION + max(LEAST_ROW, rows) + ROW_GAP for rows, _ in sizes) + legend.height + MARGIN
    sheet = Image.new("RGB", (inner + 2 * MARGIN, height), "white")
    pen = ImageDraw.Draw(sheet)
    write_line(pen, (MARGIN, 18), title, size=22, bold=True, room=inner)
    for place, name in enumerate(columns):
        write_line(pen, (MARGIN + place * step, 58), name, size=15, color=shades.MUTED, bold=True)
    top, ends = HEADING, []
    for item, size in zip(items, sizes, strict=True):
        _draw_caption(pen, item, size, top, inner)
        _draw_row(sheet, pen, item, size, (MARGIN, top + CAPTION, step), columns, palette)
        top += CAPTION + max(LEAST_ROW, size[0]) + ROW_GAP
        ends.append(top)
    legend.draw(sheet, pen, MARGIN, top)
    return sheet, ends


def _entries(items: Sequence[OverlayItem], classes: Sequence[str], colors: Colors) -> list[Entry]:
    judged = [item for item in items if item.truth is not None and item.prediction is not None]
    ignored = any(item.truth is not None and bool((item.truth == IGNORED).any()) for item in items)
    return legend_entries(occurring_classes(items), classes, colors, errors=bool(judged), ignored=ignored)


def _draw_caption(pen: ImageDraw.ImageDraw, item: OverlayItem, shown: tuple[int, int], top: int, inner: int) -> None:
    scale = shown[0] / item.true_size[0] if shown[0] > shown[1] else shown[1] / item.true_size[1]
    how = "1:1" if scale == 1 else f"{scale:.0f}×" if scale > 1 else f"at {percent(scale, decimals=1)}"
    facts = f"{format_size(item.true_size)}, shown {how}"
    room = inner - line_width(facts, size=13) - line_width(item.scores, size=14, bold=True) - 36
    x = MARGIN + write_line(pen, (MARGIN, top), item.name, size=14, room=max(80, room)) + 14
    x += write_line(pen, (x, top + 1), facts, size=13, color=shades.MUTED) + 14
    write_line(pen, (x, top), item.scores, size=14, bold=True, room=max(40, MARGIN + inner - x))


def _panel(item: OverlayItem, what: str, size: tuple[int, int], colors: Colors) -> NDArray[np.uint8] | None:
    """The picture of one column, ``(*size, 3)``; None where it cannot be made."""
    truth, prediction = (None if mask is None else resize_labels(mask, size) for mask in (item.truth, item.prediction))
    if what == "image":
        return resize_picture(item.image, size)
    if what == "truth":
        return None if truth is None else color_labels(truth, colors)
    if what == "prediction":
        return None if prediction is None else color_labels(prediction, colors)
    if what == "errors":
        if truth is None or prediction is None:
            return None
        return error_map(resize_picture(item.image, size), truth, prediction)
    return None if truth is None else blend(resize_picture(item.image, size), truth, colors)


def _draw_row(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    item: OverlayItem,
    size: tuple[int, int],
    place: tuple[int, int, int],
    columns: Sequence[str],
    colors: Colors,
) -> None:
    left, top, step = place
    for index, what in enumerate(columns):
        x = left + index * step
        panel = _panel(item, what, size, colors)
        if panel is None:
            write_line(pen, (x, top), "none", size=14, color=shades.MUTED)
            continue
        sheet.paste(Image.fromarray(panel), (x, top))
        pen.rectangle((x - 1, top - 1, x + size[1], top + size[0]), outline=shades.NEUTRAL)
