"""Which font can show a name: file names and class names come in any script."""

from functools import lru_cache
from pathlib import Path

import matplotlib as mpl

__all__ = ["BASE_FAMILY", "base_font_path", "families_for", "font_path_for", "printable"]

BASE_FAMILY = "DejaVu Sans"  # comes with matplotlib: the same figure on every machine
PLACEHOLDER = "□"

# Looked for only when a name holds a character that the base font lacks.
_WIDE_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


def base_font_path(*, bold: bool = False) -> Path:
    """The font file that matplotlib ships."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / name


@lru_cache(maxsize=32)
def _codes(path: str) -> frozenset[int]:
    """The characters that a font shows: of the base font those in both faces, for a heading is bold."""
    from matplotlib.ft2font import FT2Font

    codes = frozenset(FT2Font(path).get_charmap())
    return codes & _codes(str(base_font_path(bold=True))) if path == str(base_font_path()) else codes


@lru_cache(maxsize=1)
def _installed_wide_fonts() -> tuple[tuple[str, str], ...]:
    """The wide families on this machine: (family, path), in order of preference."""
    from matplotlib.font_manager import fontManager

    paths: dict[str, str] = {}
    for entry in fontManager.ttflist:
        if entry.name in _WIDE_FAMILIES:
            paths.setdefault(entry.name, entry.fname)
    return tuple((family, paths[family]) for family in _WIDE_FAMILIES if family in paths)


def _missing(text: str, codes: frozenset[int]) -> set[int]:
    return {ord(character) for character in text if character.isprintable()} - codes


def _fonts_for(text: str) -> list[tuple[str, str]]:
    """(family, path) of the base font and of the fonts that show what it lacks, each only if it helps."""
    fonts = [(BASE_FAMILY, str(base_font_path()))]
    missing = _missing(text, _codes(fonts[0][1]))
    if not missing:
        return fonts
    for family, path in _installed_wide_fonts():
        shown = missing & _codes(path)
        if shown:
            fonts.append((family, path))
            missing -= shown
    return fonts


def families_for(text: str) -> list[str]:
    """Font families, in order of fall-back, for a matplotlib text."""
    return [family for family, _ in _fonts_for(text)]


def font_path_for(text: str, *, bold: bool = False) -> Path:
    """One font file for a whole line, for Pillow has no fall-back inside a line.

    The base font if it shows all of ``text``, else the first installed one that does, else the base font.
    """
    for _, path in _fonts_for(text)[1:]:
        if not _missing(text, _codes(path)):
            return Path(path)
    return base_font_path(bold=bold)


def printable(text: str, *, single_font: bool = False) -> str:
    """``text`` on one line, with a box for each character that no installed font shows.

    Args:
        text: a name from outside: it may hold line breaks, or bytes of a file name that are no UTF-8.
        single_font: only what :func:`font_path_for` shows counts, as Pillow needs it.
    """
    if single_font:
        codes = _codes(str(font_path_for(text)))
    else:
        codes = frozenset().union(*(_codes(path) for _, path in _fonts_for(text)))

    def shown(character: str) -> str:
        if character.isspace():
            return " "
        if ord(character) in codes and character.isprintable():
            return character
        return PLACEHOLDER

    return "".join(map(shown, text))
