"""A sheet of images with what the model says of them: each keeps its shape, and shows its true size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from anysize.atomic import atomic_path
from anysize.errors import UsageError
from anysize.reporting import palette
from anysize.reporting.pen import line_width, write_line
from anysize.reporting.text import percent
from anysize.sizes import format_size

__all__ = ["PreviewItem", "draw_preview", "scale_text", "shown_scale"]

BOX_HEIGHT, BOX_WIDTH = 240, 330  # the place of one image, in pixels of the sheet
INSET, BORDER = 5, 4  # the picture keeps so far from the edge of its place; the border lies in between
ROOM = (BOX_HEIGHT - 2 * INSET, BOX_WIDTH - 2 * INSET)
SEEN_SIDE = 96  # an image whose longer side is shorter is enlarged to about this
CAPTION, GAP, MARGIN, HEADING = 92, 18, 26, 88
FOOTPRINT = 44
COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewItem:
    """One image and its caption.

    Args:
        image: ``(H, W, C)`` uint8, C = 1 or 3.
        name: the file's name.
        truth: the true class, where it is known.
        prediction: the predicted class, where there is one. With both, the image is marked as right or wrong.
        confidence: of the prediction, 0..1.
        size: the true ``(height, width)`` where ``image`` is not at its native size.
    """

    image: NDArray[np.uint8]
    name: str
    truth: str | None = None
    prediction: str | None = None
    confidence: float | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        shape, kind = self.image.shape, self.image.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise UsageError(
                f"image {self.name} is {kind} of shape {shape}; "
                "uint8 (H, W, C) with C = 1 or 3 and no empty side is needed"
            )

    @property
    def true_size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self.size if self.size is not None else (self.image.shape[0], self.image.shape[1])

    @property
    def right(self) -> bool | None:
        """Whether the prediction is the truth; None where one of them is not known."""
        if self.truth is None or self.prediction is None:
            return None
        return self.truth == self.prediction


def shown_scale(size: tuple[int, int]) -> float:
    """Dots on the sheet for a pixel: 1 if the image fits, an integer if it is tiny, else below 1.

    >>> shown_scale((150, 200)), shown_scale((12, 20)), shown_scale((460, 640))
    (1.0, 5.0, 0.5)
    """
    height, width = size
    fit = min(ROOM[0] / height, ROOM[1] / width)
    if fit < 1:
        return fit
    return float(max(1, min(math.ceil(SEEN_SIDE / max(height, width)), math.floor(fit))))


def scale_text(scale: float) -> str:
    """How an image is shown, in words.

    >>> scale_text(1.0), scale_text(5.0), scale_text(0.5)
    ('shown 1:1', 'shown 5×', 'shown at 50.0 %')
    """
    if scale == 1:
        return "shown 1:1"
    return f"shown {scale:.0f}×" if scale > 1 else f"shown at {percent(scale, decimals=1)}"


def draw_preview(path: Path, items: Sequence[PreviewItem], *, title: str = "Preview") -> None:
    """Draw the images to ``path`` in rows of four, in their order.

    Each keeps its shape. The caption tells the true size (height x width) and how it is shown; a small box
    beside it shows the image as it would lie in a canvas for all of them. Right and wrong differ in colour
    and in sign.

    Raises:
        UsageError: there are no items.
    """
    if not items:
        raise UsageError("there are no images; a preview needs at least one")
    columns = min(COLUMNS, len(items))
    rows = -(-len(items) // columns)
    # Not narrower than two cards, for the heading is a line of words.
    width = 2 * MARGIN + max(2, columns) * (BOX_WIDTH + GAP) - GAP
    height = HEADING + rows * (BOX_HEIGHT + CAPTION + GAP) + MARGIN - GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    write_line(pen, (MARGIN, 20), title, size=22, bold=True, room=width - 2 * MARGIN)
    write_line(pen, (MARGIN, 50), _summary(items), size=14, color=palette.MUTED, room=width - 2 * MARGIN)
    marks = _size_marks(items)
    frame = (max(item.true_size[0] for item in items), max(item.true_size[1] for item in items))
    for index, item in enumerate(items):
        left = MARGIN + index % columns * (BOX_WIDTH + GAP)
        top = HEADING + index // columns * (BOX_HEIGHT + CAPTION + GAP)
        _draw_image(sheet, pen, item, left, top)
        _draw_caption(pen, item, left, top + BOX_HEIGHT + 10, marks.get(index, ""))
        if len(items) > 1:
            _draw_footprint(pen, item.true_size, frame, left + BOX_WIDTH, top + BOX_HEIGHT + 40)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".png":
            # Drawn each epoch: level 3 takes a third of the default's time for some per cent more bytes.
            sheet.save(temporary, compress_level=3)
        else:
            sheet.save(temporary, quality=90)


def _summary(items: Sequence[PreviewItem]) -> str:
    judged = [item.right for item in items if item.right is not None]
    parts = [f"{sum(judged)} of {len(judged)} right"] if judged else []
    parts.append("sizes are height x width in pixels")
    if len(items) > 1:
        parts.append("small boxes: true sizes beside each other")
    return "  ·  ".join(parts)


def _size_marks(items: Sequence[PreviewItem]) -> dict[int, str]:
    """Which items are the smallest and the largest by area, where they differ."""
    areas = [math.prod(item.true_size) for item in items]
    if min(areas) == max(areas):
        return {}
    return {areas.index(min(areas)): "smallest", areas.index(max(areas)): "largest"}


def _verdict_color(item: PreviewItem) -> str:
    if item.right is None:
        return palette.NEUTRAL
    return palette.RIGHT if item.right else palette.WRONG


def _draw_image(sheet: Image.Image, pen: ImageDraw.ImageDraw, item: PreviewItem, left: int, top: int) -> None:
    pen.rectangle((left, top, left + BOX_WIDTH - 1, top + BOX_HEIGHT - 1), fill=palette.EMPTY)
    scale = shown_scale(item.true_size)
    height, width = (max(1, round(scale * length)) for length in item.true_size)
    pixels = item.image[..., 0] if item.image.shape[2] == 1 else item.image
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    if scale > 1:  # nearest: one sees the pixels that the model sees
        picture = picture.resize((width, height), Image.Resampling.NEAREST)
    elif picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    x, y = left + (BOX_WIDTH - width) // 2, top + (BOX_HEIGHT - height) // 2
    sheet.paste(picture, (x, y))
    around = (x - BORDER, y - BORDER, x + width + BORDER - 1, y + height + BORDER - 1)
    pen.rectangle(around, outline=_verdict_color(item), width=BORDER)


def _draw_caption(pen: ImageDraw.ImageDraw, item: PreviewItem, left: int, top: int, mark: str) -> None:
    sign = {None: "", True: "✓ ", False: "✗ "}[item.right]
    confidence = "" if item.confidence is None else f"  {percent(item.confidence)}"
    x = left + write_line(pen, (left, top), sign, size=17, bold=True, color=_verdict_color(item))
    room = left + BOX_WIDTH - x - line_width(confidence, size=15)
    if item.prediction is not None:
        x += write_line(pen, (x, top + 1), item.prediction, size=15, bold=True, room=room)
        write_line(pen, (x, top + 1), confidence, size=15)
    words = BOX_WIDTH - FOOTPRINT - 12
    truth = "" if item.truth is None else f"truth: {item.truth}"
    write_line(pen, (left, top + 22), truth, size=14, room=words)
    size = f"{format_size(item.true_size)}  {scale_text(shown_scale(item.true_size))}"
    x = left + write_line(pen, (left, top + 42), size, size=13, color=palette.MUTED)
    write_line(pen, (x + 8, top + 42), mark, size=13, bold=True, color=palette.BLUE)
    write_line(pen, (left, top + 60), item.name, size=13, color=palette.MUTED, room=words)


def _draw_footprint(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], frame: tuple[int, int], right: int, top: int
) -> None:
    """The image's true size inside the box that holds all, on one scale for the whole sheet."""
    scale = FOOTPRINT / max(frame)
    height, width = (max(3, round(scale * length)) for length in frame)
    own_height, own_width = (max(1, round(scale * length)) for length in size)
    left = right - width
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=palette.EMPTY, outline=palette.NEUTRAL)
    pen.rectangle((left, top, left + own_width - 1, top + own_height - 1), fill=palette.BLUE)
