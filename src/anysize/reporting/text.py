"""Numbers and names as the figures write them: short, and the same everywhere."""

import math

__all__ = ["compact_count", "percent", "pixels_range_text", "pixels_text", "shorten_middle"]

ELLIPSIS = "…"


def shorten_middle(text: str, max_chars: int) -> str:
    """Leave out the middle of a long text; both ends stay, for names differ there.

    >>> shorten_middle("train/cat/IMG_20240131_0031.png", 17)
    'train/ca…0031.png'
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is {max_chars}; at least 1 is needed")
    if len(text) <= max_chars:
        return text
    num_kept = max_chars - 1
    num_tail = (num_kept + 1) // 2  # the end tells more: a number, a suffix
    head = text[: num_kept - num_tail]
    return head + ELLIPSIS + (text[-num_tail:] if num_tail else "")


def percent(share: float, *, decimals: int | None = None) -> str:
    """A share in 0..1 as per cent: never a false 0 or 100.

    Args:
        share: a dash is written where it is not finite.
        decimals: digits after the point; where not given, one below 10 % and none above.

    >>> [percent(share) for share in (0.0, 0.0004, 0.0312, 0.31, 0.9996, 1.0)]
    ['0 %', '<0.1 %', '3.1 %', '31 %', '>99 %', '100 %']
    >>> percent(0.8734, decimals=1), percent(0.9996, decimals=1)
    ('87.3 %', '>99.9 %')
    """
    if not math.isfinite(share):
        return "–"
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    if decimals is None:
        decimals = 1 if share < 0.0995 else 0
    unit = 10.0**-decimals
    if 0 < 100 * share < unit / 2:
        return f"<{unit:.{decimals}f} %"
    if 100 - unit / 2 <= 100 * share < 100:
        return f">{100 - unit:.{decimals}f} %"
    return f"{100 * share:.{decimals}f} %"


def compact_count(count: float) -> str:
    """A count in at most four characters, up to 999 G.

    >>> [compact_count(count) for count in (0, 999, 1_234, 12_345, 999_600, 1_234_567, 2_500_000_000)]
    ['0', '999', '1.2k', '12k', '1.0M', '1.2M', '2.5G']
    """
    if count < 999.5:
        return f"{count:.0f}"
    scaled, unit = _scaled(count)
    return f"{scaled}{unit}"


def _scaled(value: float) -> tuple[str, str]:
    """Two or three digits, and the metric prefix."""
    for factor, prefix in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        scaled = value / factor
        if scaled < 9.95:
            return f"{scaled:.1f}", prefix
        if scaled < 999.5 or prefix == "G":
            break
    return f"{scaled:.0f}", prefix


def pixels_text(pixels: float) -> str:
    """An area with its unit.

    >>> [pixels_text(pixels) for pixels in (1, 4_096, 262_144, 12_000_000)]
    ['1 px', '4.1 kpx', '262 kpx', '12 Mpx']
    """
    number, unit = _pixels(pixels)
    return f"{number} {unit}"


def _pixels(pixels: float) -> tuple[str, str]:
    if pixels < 999.5:
        return f"{pixels:.0f}", "px"
    number, prefix = _scaled(pixels)
    return number, f"{prefix}px"


def pixels_range_text(lower: float, upper: float) -> str:
    """A range of areas, from 0 or to infinity too.

    >>> pixels_range_text(0, 4_096), pixels_range_text(4_096, 16_384), pixels_range_text(1e6, float("inf"))
    ('≤ 4.1 kpx', '4.1–16 kpx', '> 1.0 Mpx')
    """
    if math.isinf(upper):
        return f"> {pixels_text(lower)}"
    if lower <= 0:
        return f"≤ {pixels_text(upper)}"
    (low, low_unit), (high, high_unit) = _pixels(lower), _pixels(upper)
    return f"{low}–{high} {high_unit}" if low_unit == high_unit else f"{low} {low_unit}–{high} {high_unit}"
