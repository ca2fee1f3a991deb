"""Words on Pillow images: one line each, in a font that shows them, shortened to the room there is."""

from functools import lru_cache

from PIL import ImageDraw, ImageFont

from anysize.reporting import palette
from anysize.reporting.fonts import font_path_for, printable
from anysize.reporting.text import shorten_middle

__all__ = ["line_width", "write_line"]


@lru_cache(maxsize=64)
def _load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _font(bold: bool, size: int, text: str) -> ImageFont.FreeTypeFont:
    return _load_font(str(font_path_for(text, bold=bold)), size)


def line_width(text: str, *, size: int, bold: bool = False) -> int:
    """The width of a line in pixels, as :func:`write_line` writes it."""
    text = printable(text, single_font=True)
    return round(_font(bold, size, text).getlength(text))


def write_line(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    *,
    size: int,
    bold: bool = False,
    color: str = palette.INK,
    room: int | None = None,
) -> int:
    """Write one line at ``place``, its left top; return its width in pixels.

    With ``room``, a width in pixels, the middle is left out until the line fits.
    """
    if not text:
        return 0
    text = printable(text, single_font=True)
    font = _font(bold, size, text)
    if room is not None and font.getlength(text) > room:
        fits = [n for n in range(1, min(len(text), 200)) if font.getlength(shorten_middle(text, n)) <= room]
        text = shorten_middle(text, max(fits, default=1))
    pen.text(place, text, font=font, fill=color)
    return round(font.getlength(text))
