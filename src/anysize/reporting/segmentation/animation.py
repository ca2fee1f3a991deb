"""The sheets of all epochs one after the other, as one small GIF.

What keeps it small: frames of at most 960 x 1,300 dots, with as many rows of a sheet as fit; one table of 255 colours
for all, in which those of the classes come first and are exact; no dithering, whose noise would not compress; of each
frame only the pixels that changed; at most 60 epochs, evenly chosen, the first and the last among them; and smaller
frames where the file is still too large.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from anysize.atomic import atomic_path
from anysize.errors import UsageError
from anysize.reporting import palette as shades
from anysize.reporting.pen import line_width, write_line
from anysize.reporting.segmentation.item import Colors
from anysize.reporting.segmentation.panels import rgb
from anysize.reporting.segmentation.sheet import ROWS_NOTE

__all__ = ["chosen_epochs", "draw_epochs_animation"]

MAX_WIDTH, MAX_HEIGHT = 960, 1300
TRANSPARENT = 255
NUM_EXACT = 180  # colours of classes; the others are for photographs
NUM_FLAT = 64  # of the words, of the page
BADGE, NOTE, BAR = 24, 13, 5  # dots: the sizes of the words, and the height of the bar under them
SHORTEST_MS, LONGEST_MS, LAST_MS, WHOLE_MS = 150, 800, 3000, 12_000

Sheet = Path | NDArray[np.uint8]


def draw_epochs_animation(
    path: Path,
    sheets: Sequence[tuple[int, Sheet]],
    palette: Colors = (),
    *,
    max_frames: int = 60,
    max_bytes: int = 4_000_000,
) -> None:
    """Draw sheets of the same images over the epochs to ``path``, an endless GIF; the last one stays for three seconds.

    Args:
        path: the file to write, ``.gif``.
        sheets: (epoch, sheet) with epochs ascending; a sheet is a file that ``draw_overlay_sheet`` wrote, or the
            ``(H, W, 3)`` of ``render_overlay_sheet``. Lower ones are filled up with white. Of files with many rows the
            first that fit are shown, and their number.
        palette: the colours of the classes, to be shown exactly (of more than 180 classes only the first ones); without
            it those that cover much of the first, the middle or the last sheet are.
        max_frames: at most so many epochs are shown; each frame tells its epoch.
        max_bytes: frames are made smaller until the file is; at a quarter of the width it is written as it is.

    Raises:
        UsageError: there are no sheets, or the epochs do not ascend.
    """
    epochs = [epoch for epoch, _ in sheets]
    if not epochs:
        raise UsageError("there are no sheets; an animation needs at least one epoch")
    if any(after <= before for before, after in pairwise(epochs)):
        raise UsageError(f"the epochs are {', '.join(map(str, epochs))}; they must ascend")
    if path.suffix.lower() != ".gif":
        raise UsageError(f"the animation is to be written to {path.name}; only .gif is drawn")
    shown = [sheets[place] for place in chosen_epochs(len(sheets), max_frames)]
    page = _page(shown)
    scale = min(1.0, MAX_WIDTH / page.width, MAX_HEIGHT / page.height)
    content, least = _encoded(shown, page, scale, epochs[-1], palette), scale / 4
    while len(content) > max_bytes and scale > least:
        # Bytes fall about with the area; a little more, not to come back for a few.
        scale = max(least, scale * min(0.9, 0.95 * math.sqrt(max_bytes / len(content))))
        content = _encoded(shown, page, scale, epochs[-1], palette)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def chosen_epochs(num_epochs: int, max_frames: int) -> list[int]:
    """The places of at most ``max_frames`` epochs, evenly spread; the last one always, the first from two on.

    >>> chosen_epochs(3, 60), chosen_epochs(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if max_frames < 2 or num_epochs < 2:
        return [num_epochs - 1]
    num_frames = min(num_epochs, max_frames)
    return [round(number * (num_epochs - 1) / (num_frames - 1)) for number in range(num_frames)]


@dataclass(frozen=True, slots=True)
class _Page:
    """What of the sheets is shown: the rows that fit, and the legend."""

    height: int
    width: int
    end: int | None
    """Where the last row that is shown ends; None where all are."""
    rows: str
    """Words, where not all are shown."""


def _page(sheets: Sequence[tuple[int, Sheet]]) -> _Page:
    """The page that holds every sheet. Words shrunk with a sheet of many rows could not be read."""
    sizes, rows, feet = [], [], []
    for _, sheet in sheets:
        picture, ends = _read(sheet)
        sizes.append(picture.size)
        rows.append(ends)
        feet.append(picture.height - ends[-1] if ends else 0)
    width, height = (max(sides) for sides in zip(*sizes, strict=True))
    room = MAX_HEIGHT / min(1.0, MAX_WIDTH / width)
    if height <= room or not rows[0] or any(ends != rows[0] for ends in rows):
        return _Page(height, width, None, "")
    num_rows = max(1, sum(end + max(feet) <= room for end in rows[0]))
    end = rows[0][num_rows - 1]
    return _Page(end + max(feet), width, end, f"first {num_rows} of {len(rows[0])} images")


def _read(sheet: Sheet) -> tuple[Image.Image, list[int]]:
    """The sheet, and where its rows end; nothing where that is not known."""
    if not isinstance(sheet, Path):
        return Image.fromarray(sheet), []
    with Image.open(sheet) as image:
        return image.convert("RGB"), [int(end) for end in str(image.info.get(ROWS_NOTE, "")).split()]


def _frame(sheet: Sheet, epoch: int, last: int, page: _Page, scale: float) -> NDArray[np.uint8]:
    """One sheet on the page, shrunk, with its epoch in the corner: ``(H, W, 3)``."""
    picture, ends = _read(sheet)
    whole = Image.new("RGB", (page.width, page.height), "white")
    if page.end is None:
        whole.paste(picture, (0, 0))
    else:
        whole.paste(picture.crop((0, 0, picture.width, page.end)), (0, 0))
        whole.paste(picture.crop((0, ends[-1], *picture.size)), (0, page.end))
    if scale < 1:
        size = max(1, round(page.width * scale)), max(1, round(page.height * scale))
        whole = whole.resize(size, Image.Resampling.LANCZOS)
    _write_epoch(whole, epoch, last, page.rows)
    return np.array(whole)


def _write_epoch(picture: Image.Image, epoch: int, last: int, rows: str) -> None:
    text, widest = f"epoch {epoch}", f"epoch {last}"
    pen = ImageDraw.Draw(picture)
    width = line_width(widest, size=BADGE, bold=True)
    left = max(0, picture.width - width - 20)
    words = line_width(rows, size=NOTE) + 24 if rows else 0
    # No lower than the words: under them stand the names of the columns.
    pen.rectangle((left - 10 - words, 0, left, BADGE + 10), fill="white")
    pen.rectangle((left - 10, 0, picture.width, BADGE + BAR + 13), fill="white")
    write_line(pen, (left - words, 15), rows, size=NOTE, color=shades.MUTED)
    write_line(pen, (left, 6), text, size=BADGE, bold=True)
    top = BADGE + 12
    pen.rectangle((left, top, left + width - 1, top + BAR), fill=shades.GRID)
    pen.rectangle((left, top, left + round(width * epoch / max(1, last)), top + BAR), fill=shades.BLUE)


def _encoded(sheets: Sequence[tuple[int, Sheet]], page: _Page, scale: float, last: int, colors: Colors) -> bytes:
    """The GIF of all frames at one scale."""
    samples = {0, len(sheets) // 2, len(sheets) - 1}
    frames = [_frame(sheets[place][1], sheets[place][0], last, page, scale) for place in sorted(samples)]
    table = _color_table(frames, colors)
    nearest = _nearest(table)
    images: list[Image.Image] = []
    before: NDArray[np.uint8] | None = None
    for epoch, sheet in sheets:
        shown = _indices(_frame(sheet, epoch, last, page, scale), nearest)
        # Pillow leaves out unchanged edges only; what is transparent inside compresses to almost nothing.
        changed = shown if before is None else np.where(shown == before, np.uint8(TRANSPARENT), shown)
        before = shown
        image = Image.fromarray(changed)
        image.putpalette(table.astype(np.uint8).tobytes())
        images.append(image)
    each = min(LONGEST_MS, max(SHORTEST_MS, WHOLE_MS // len(images)))
    out = io.BytesIO()
    images[0].save(
        out,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[each] * (len(images) - 1) + [LAST_MS],
        loop=0,
        optimize=False,
        disposal=1,
        transparency=TRANSPARENT,
    )
    return out.getvalue()


def _color_table(frames: Sequence[NDArray[np.uint8]], colors: Colors) -> NDArray[np.int64]:
    """(255, 3): the classes' colours and the most frequent ones as they are, and some for the photographs."""
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in frames])
    codes = (pixels.astype(np.int32) << np.array([16, 8, 0])).sum(axis=1)
    values, counts = np.unique(codes, return_counts=True)
    flat = values[np.argsort(-counts, kind="stable")[:NUM_FLAT]]
    frequent = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in flat]
    own = [rgb(color) for color in (shades.BLUE, shades.INK, shades.WRONG)]
    fixed = list(dict.fromkeys([*colors[:NUM_EXACT], *own, *frequent]))[: NUM_EXACT + NUM_FLAT // 2]
    side = Image.fromarray(pixels[None, :: max(1, len(pixels) // 400_000)])
    num_free = TRANSPARENT - len(fixed)
    reduced = side.quantize(num_free, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).getpalette() or []
    free = np.array(reduced, dtype=np.int64).reshape(-1, 3)[:num_free]
    table = np.zeros((TRANSPARENT, 3), dtype=np.int64)
    found = np.concatenate([np.array(fixed, dtype=np.int64), free])
    table[: len(found)] = found
    return table


def _nearest(table: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(2^18,): for each colour of six bits a channel the place of the nearest one in the table.

    A colour of the table is its own nearest, unless an earlier one shares its six bits.
    """
    levels = np.arange(64) * 4 + 2
    result = np.zeros((64, 64, 64), dtype=np.uint8)
    for place, red in enumerate(levels):
        away = (table[:, 0] - red)[None, None, :] ** 2
        away = away + (levels[:, None, None] - table[None, None, :, 1]) ** 2
        away = away + (levels[None, :, None] - table[None, None, :, 2]) ** 2
        result[place] = away.argmin(axis=2)
    for place in range(len(table) - 1, -1, -1):
        red, green, blue = table[place] >> 2
        result[red, green, blue] = place
    return result.ravel()


def _indices(frame: NDArray[np.uint8], nearest: NDArray[np.uint8]) -> NDArray[np.uint8]:
    six = (frame >> 2).astype(np.int32)
    found: NDArray[np.uint8] = nearest[six[..., 0] << 12 | six[..., 1] << 6 | six[..., 2]]
    return found
