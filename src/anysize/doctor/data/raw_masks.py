"""Masks that cannot be read as classes, drawn with their own colours: that shows what they are."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.coding import IGNORED, UNKNOWN, MaskCoding
from anysize.data.masks.palette import Color, color_text, packed_colors, unpack_color
from anysize.data.masks.reading import classes_of_colors
from anysize.data.masks.values import read_values

__all__ = ["MARK", "RawColors"]

MARK: Color = (255, 0, 255)
"""Of values that name no class, and of colours beyond `_MOST_COLORS`."""
_MOST_COLORS = 32
_MARKED, _OTHERS = "no class", "other colours"


class RawColors:
    """Further entries of a sheet's palette, in the order in which they were met.

    Args:
        classes: K names.
        palette: the K colours.
    """

    def __init__(self, classes: tuple[str, ...], palette: tuple[Color, ...]) -> None:
        self.classes = list(classes)
        self.palette = list(palette)
        self._numbers: dict[tuple[str, Color], int] = {}

    def read(self, path: Path, coding: MaskCoding, *, max_image_pixels: int) -> NDArray[np.uint8]:
        """A mask as numbers into `palette`, uint8 (H, W); 255 is ignored.

        Raises:
            ImageReadError: the file cannot be read.
        """
        read = read_values(path, max_image_pixels=max_image_pixels)
        if read.in_color:
            return self._of_colors(read.values.astype(np.uint8, copy=False), coding)
        values = np.minimum(read.values.astype(np.int64), 256)
        if coding.colors is None:
            meanings = np.array([*coding.lookup, UNKNOWN], np.int64)[values]
        else:
            colors = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
            if read.palette is not None:
                colors[: len(read.palette)] = read.palette[:256]
            meanings = np.append(classes_of_colors(packed_colors(colors), coding.colors), UNKNOWN)[values]
        if (meanings == UNKNOWN).any():
            meanings = np.where(meanings == UNKNOWN, self._number(_MARKED, MARK), meanings)
        return meanings.astype(np.uint8)

    def _of_colors(self, pixels: NDArray[np.uint8], coding: MaskCoding) -> NDArray[np.uint8]:
        found, where, counts = np.unique(packed_colors(pixels), return_inverse=True, return_counts=True)
        meanings = np.full(len(found), UNKNOWN, np.int64)
        if coding.colors is not None:
            meanings = classes_of_colors(found, coding.colors)
        for place in np.argsort(-counts, kind="stable").tolist():
            if meanings[place] == UNKNOWN:
                color = unpack_color(int(found[place]))
                meanings[place] = self._number(color_text(color), color)
        return meanings[where].reshape(pixels.shape[:2]).astype(np.uint8)

    def _number(self, name: str, color: Color) -> int:
        """The number of an entry; a new one where there is room, and else that of all others."""
        if (name, color) in self._numbers:
            return self._numbers[name, color]
        room = min(_MOST_COLORS, IGNORED - 2 - (len(self.classes) - len(self._numbers)))
        if name != _MARKED and len(self._numbers) >= room:
            name, color = _OTHERS, MARK
            if (name, color) in self._numbers:
                return self._numbers[name, color]
        if len(self.classes) >= IGNORED:  # 255 classes leave no number
            return IGNORED
        self._numbers[name, color] = len(self.classes)
        self.classes.append(name)
        self.palette.append(color)
        return self._numbers[name, color]
