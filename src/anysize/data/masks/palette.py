"""Colours of classes, for drawing."""

import numpy as np

__all__ = ["Color", "color_text", "default_palette", "voc_palette"]

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
