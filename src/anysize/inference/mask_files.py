"""Masks and overlays as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.atomic import atomic_path
from anysize.data.masks import IGNORED

__all__ = ["write_mask", "write_overlay"]

Colors = Sequence[tuple[int, int, int]]
_IGNORED_COLOR = (224, 224, 192)  # as Pascal VOC draws it


def write_mask(path: Path, mask: NDArray[np.uint8], palette: Colors) -> None:
    """Write a PNG of indices (mode P, 8 bits): the value of a pixel is its class, the palette gives its colour.

    Args:
        path: the file; it is written whole or not at all.
        mask: uint8 (H, W), class indices and 255.
        palette: (red, green, blue) of each class.
    """
    colors = np.zeros((256, 3), np.uint8)  # all of them: with fewer colours Pillow packs pixels into fewer bits
    colors[IGNORED] = _IGNORED_COLOR
    colors[: len(palette)] = np.array(palette, np.uint8).reshape(-1, 3)
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette(colors.tobytes())
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def write_overlay(path: Path, image: NDArray[np.uint8], mask: NDArray[np.uint8], palette: Colors) -> None:
    """Write a PNG of the image (H, W, C) with its mask (H, W) half transparent over it, at the image's own size."""
    from anysize.reporting.segmentation.panels import blend

    picture = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    with atomic_path(path) as temporary:
        Image.fromarray(blend(picture, mask, palette)).save(temporary, format="PNG", compress_level=3)
