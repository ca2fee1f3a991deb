"""What the values of mask files mean."""

from dataclasses import dataclass

__all__ = ["IGNORED", "UNKNOWN", "MaskCoding", "index_coding"]

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

    def class_of(self, value: int) -> int:
        """The class of a value of an index mask, `IGNORED` or `UNKNOWN`; values above 255 are unknown."""
        return self.lookup[value] if value < len(self.lookup) else UNKNOWN


def index_coding(meanings: dict[int, int], num_classes: int) -> MaskCoding:
    """A coding of index masks from the values that mean something; all others are unknown.

    Args:
        meanings: value 0..255 -> class or `IGNORED`.
        num_classes: K.
    """
    return MaskCoding(
        num_classes=num_classes, lookup=tuple(meanings.get(value, UNKNOWN) for value in range(256)), colors=None
    )
