"""Reading one image file: its header, or its pixels as 8-bit grey or RGB at native size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anysize.data.pillow import (
    DEFAULT_MAX_IMAGE_PIXELS,
    FORMATS,
    ByteSource,
    ImageReadError,
    native_size,
    open_image,
)
from anysize.data.pillow import orientation_of as _orientation_of
from anysize.data.pixels import content_channels, decode

__all__ = [
    "DEFAULT_MAX_IMAGE_PIXELS",
    "EXTENSIONS",
    "FORMATS",
    "ByteSource",
    "ImageHeader",
    "ImageReadError",
    "read_header",
    "read_image",
    "read_with_remark",
]

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)
"""Name endings taken for images when a folder is searched, in lower case. Content decides the format."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of an image without decoding it.

    Args:
        height, width: in pixels, after the EXIF orientation is applied.
        channels: 1 if the content is grey (modes 1, L, LA, I;16, I, F, or a palette of greys only), else 3.
        frames: of an animation, pages of a TIFF file; only the first is ever read.
        format: one of `FORMATS`, or MPO (a JPEG with further pictures behind it).
    """

    height: int
    width: int
    channels: Literal[1, 3]
    frames: int
    format: str


def read_header(path: Path | str | ByteSource, *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS) -> ImageHeader:
    """The header of an image file, or of the bytes of one; no pixel is decoded.

    Raises:
        ImageReadError: the file cannot be read, is no image of a known format, or is above
        ``max_image_pixels``.
    """
    with open_image(path, max_image_pixels=max_image_pixels) as image:
        height, width = native_size(image, _orientation_of(image))
        channels = content_channels(image)
        # Counting the frames moves through the file, so it comes last.
        frames = int(getattr(image, "n_frames", 1))
        return ImageHeader(height, width, channels, frames, str(image.format))


def read_image(
    path: Path | str | ByteSource, channels: Literal[1, 3], *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (H, W, C), C-contiguous and writable, EXIF orientation applied.

    How transparency, 16-bit, floating-point, palette and other content becomes 8 bit is told in
    `pixels.decode`. Of several frames the first is read.

    Args:
        path: the file, or what opens the bytes of an image elsewhere.
        channels: 1 (grey) or 3 (RGB), whatever the file holds.
        max_image_pixels: height x width above which the file is refused rather than decoded.

    Raises:
        ImageReadError: the file cannot be read, or not to its end, or is above ``max_image_pixels``.
    """
    return read_with_remark(path, channels, max_image_pixels=max_image_pixels)[0]


def read_with_remark(
    path: Path | str | ByteSource, channels: Literal[1, 3], *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
) -> tuple[NDArray[np.uint8], str | None]:
    """As `read_image`, with what a user ought to know about how the pixels came about (None: nothing)."""
    with open_image(path, max_image_pixels=max_image_pixels) as image:
        orientation = _orientation_of(image)
        if image.format == "TIFF":
            orientation = 1  # Pillow turns TIFF files itself when it decodes them
        decoded = decode(image, channels)
        return np.ascontiguousarray(_turned(decoded.pixels, orientation)), decoded.remark


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the camera's orientation (EXIF 2.32, tag 0x0112); (H, W, C) both."""
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    return pixels
