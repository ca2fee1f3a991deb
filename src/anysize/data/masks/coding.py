"""What the values of mask files mean."""

from dataclasses import dataclass

__all__ = ["IGNORED", "UNKNOWN", "MaskCoding"]

IGNORED = 255
"""The ignore label, whatever the files use: a target pixel that counts in no loss and no metric."""
UNKNOWN = -1
"""A value that no mask may hold."""


@dataclass(frozen=True, kw_only=True)
class MaskCoding:
    """How a mask file becomes class indices; reading one gives uint8 (H, W) with 0 .. K-1 and `IGNORED`.

    Args:
        num_classes: K, at most 255.
        lookup: for each value 0..255 of an index mask (palette or grey PNG) its class, `IGNORED` or `UNKNOWN`.
        colors: for masks in colour, (red, green, blue) and what it stands for (a class or `IGNORED`); None where masks
            are indices.
    """

    num_classes: int
    lookup: tuple[int, ...]
    colors: tuple[tuple[tuple[int, int, int], int], ...] | None = None
