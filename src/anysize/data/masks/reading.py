"""One mask file to class indices."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS
from anysize.data.masks.coding import IGNORED, UNKNOWN, MaskCoding
from anysize.data.masks.palette import color_text, packed_colors, unpack_color
from anysize.data.masks.values import MaskValues, read_values
from anysize.data.problems import printable
from anysize.errors import DataError

__all__ = ["classes_of_colors", "read_mask"]

_MOST_NAMED = 8


def read_mask(
    path: Path | str, coding: MaskCoding, *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
) -> NDArray[np.uint8]:
    """The class of every pixel, uint8 (H, W), C-contiguous and writable: 0 .. K-1, and `IGNORED`.

    Palette images are read as indices, never as colours, but with a coding of colours; grey levels of 1, 2, 4, 8 and 16
    bits are read as the numbers that they were written as. The EXIF orientation is applied, as to images.

    Args:
        path: the mask.
        coding: what the file's values mean.
        max_image_pixels: height x width above which the file is refused.

    Raises:
        ImageReadError: the file cannot be read, or not to its end.
        DataError: a value or colour without meaning.
    """
    read = read_values(path, max_image_pixels=max_image_pixels)
    if coding.colors is not None:
        return _by_color(path, read, coding.colors)
    if read.in_color:
        raise DataError(
            f"{printable(str(path))} is a mask in colour; masks of indices are required",
            hint="--mask-palette says which colour is which class",
        )
    table, known = _tables(coding.lookup)
    values = read.values
    if values.dtype == np.uint16:
        _refuse_unknown(path, values > 255, values)
    if not known.all():
        _refuse_unknown(path, ~known[values], values)
    mask: NDArray[np.uint8] = table[values]
    return mask


@lru_cache(maxsize=16)
def _tables(lookup: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The class of each value, and which values have one."""
    meanings = np.array(lookup, np.int64)
    known = meanings != UNKNOWN
    return np.where(known, meanings, IGNORED).astype(np.uint8), known


def _refuse_unknown(
    path: Path | str, unknown: NDArray[np.bool_], values: NDArray[np.uint8] | NDArray[np.uint16]
) -> None:
    if not unknown.any():
        return
    found, counts = np.unique(values[unknown], return_counts=True)
    shown = ", ".join(str(value) for value in found[:_MOST_NAMED].tolist())
    more = ", ..." if len(found) > _MOST_NAMED else ""
    raise DataError(
        f"{printable(str(path))} has {int(counts.sum()):,} pixels of values that name no class: {shown}{more}",
        hint="--mask-values or --ignore-label says what they mean",
    )


def classes_of_colors(
    packed: NDArray[np.int32], colors: tuple[tuple[tuple[int, int, int], int], ...]
) -> NDArray[np.int64]:
    """What packed colours (...) stand for: a class, `IGNORED`, or `UNKNOWN`; of the same shape."""
    keys = packed_colors(np.array([color for color, _ in colors], np.uint8))
    order = np.argsort(keys, kind="stable")
    keys, meanings = keys[order], np.array([meaning for _, meaning in colors], np.int64)[order]
    at = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
    return np.where(keys[at] == packed, meanings[at], UNKNOWN)


def _by_color(
    path: Path | str, read: MaskValues, colors: tuple[tuple[tuple[int, int, int], int], ...]
) -> NDArray[np.uint8]:
    packed = packed_colors(_as_colors(path, read))
    classes = classes_of_colors(packed, colors)
    unknown = classes == UNKNOWN
    if unknown.any():
        found = np.unique(packed[unknown])
        shown = ", ".join(color_text(unpack_color(number)) for number in found[:_MOST_NAMED].tolist())
        more = ", ..." if len(found) > _MOST_NAMED else ""
        raise DataError(
            f"{printable(str(path))} has {int(unknown.sum()):,} pixels of colours that name no class: {shown}{more}",
            hint="add them to --mask-palette, with '=ignore' where they mean no label",
        )
    return classes.astype(np.uint8)


def _as_colors(path: Path | str, read: MaskValues) -> NDArray[np.uint8]:
    """The mask in colour, (H, W, 3): its own, its palette's, or its grey levels."""
    if read.in_color:
        return read.values.astype(np.uint8, copy=False)
    if read.values.dtype == np.uint16:
        _refuse_unknown(path, read.values > 255, read.values)
    greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    if read.palette is not None:
        greys[: len(read.palette)] = read.palette[:256]
    colors: NDArray[np.uint8] = greys[read.values]
    return colors
