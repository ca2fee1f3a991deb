"""Colours of classes, for drawing."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Color", "color_text", "default_palette", "pack_color", "packed_colors", "unpack_color", "voc_palette"]

Color = tuple[int, int, int]
"""(red, green, blue), each 0..255."""


def default_palette(num_classes: int) -> tuple[Color, ...]:
    """K different colours, (red, green, blue); the first few are easy to tell apart.

    It is the colour map of Pascal VOC: class 0 is black, and every further colour differs from all before.

    Args:
        num_classes: K, at most 255.
    """
    return voc_palette(num_classes)


def voc_palette(count: int) -> tuple[Color, ...]:
    """The first colours of Pascal VOC's map (VOCdevkit, VOClabelcolormap.m): the bits of the index, spread."""
    index = np.arange(count)
    channels = np.zeros((count, 3), np.int64)
    for shift in range(8):
        for channel in range(3):
            channels[:, channel] |= ((index >> (3 * shift + channel)) & 1) << (7 - shift)
    return tuple((int(red), int(green), int(blue)) for red, green, blue in channels)


def color_text(color: Color) -> str:
    """As ``--mask-palette`` takes it.

    >>> color_text((128, 0, 255))
    '#8000ff'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)


def packed_colors(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(..., 3) colours as one number each: red * 65536 + green * 256 + blue."""
    wide = pixels.astype(np.int32)
    packed: NDArray[np.int32] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return packed


def pack_color(color: Color) -> int:
    """One colour as `packed_colors` has it.

    >>> pack_color((1, 2, 3)) == 0x010203
    True
    """
    red, green, blue = color
    return red << 16 | green << 8 | blue


def unpack_color(packed: int) -> Color:
    """The colour of a number.

    >>> unpack_color(0x010203)
    (1, 2, 3)
    """
    return packed >> 16, packed >> 8 & 255, packed & 255
