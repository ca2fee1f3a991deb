"""One look at one image, or at one mask: decoded once, and only figures are kept."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.images import ByteSource, ImageReadError
from anysize.data.masks.palette import packed_colors, unpack_color
from anysize.data.masks.values import read_values
from anysize.data.pillow import native_size, open_image, orientation_of
from anysize.data.pixels import content_channels, decode
from anysize.data.statistics import PixelStats, pixel_stats

__all__ = [
    "THUMBNAIL_SIDE",
    "ImageLook",
    "MaskLook",
    "file_digest",
    "look_at_image",
    "look_at_mask",
    "num_bytes_of",
    "ramp_counts",
]

THUMBNAIL_SIDE = 32
_CHUNK = 1 << 20
_MOST_COLORS = 256
_LOSSY = ("JPEG", "MPO")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLook:
    """What one decoded image has shown."""

    size: tuple[int, int]
    """Height and width as they are read: the EXIF orientation applied."""
    mode: str
    """Pillow's name for how the file stores its pixels: RGB, L, I;16, P, ..."""
    orientation: int
    """Of EXIF, 1 to 8; 1 is upright."""
    low: int
    """Darkest grey level, 0..255."""
    high: int
    """Brightest grey level, 0..255."""
    rgb: PixelStats
    """Sums of the pixels as RGB."""
    grey_as_color: bool
    """The file stores three channels, and they are equal everywhere."""
    remark: str | None
    """What the decoder says of it."""
    digest: bytes
    """Of the decoded pixels and their shape."""
    thumbnail: bytes
    """Grey, `THUMBNAIL_SIDE` pixels a side, each the mean of an area: what resizing and JPEG hardly change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLook:
    """What one mask file holds, before anybody says what its values mean."""

    size: tuple[int, int]
    """Height and width as they are read: the EXIF orientation applied."""
    mode: str
    format: str
    orientation: int
    values: tuple[tuple[int, int], ...]
    """(value, pixels) of a mask of one channel, sorted; empty for one in colour."""
    colors: tuple[tuple[tuple[int, int, int], int], ...]
    """((red, green, blue), pixels) of a mask in colour, most frequent first; empty for one of one channel."""
    num_colors: int
    """Distinct colours, of which ``colors`` may hold only the first."""
    num_steps: int
    """Places where a pixel differs from its right neighbour, neither of them 255; of a mask of one channel."""
    num_ramps: int
    """Those of them where the values go on rising, or falling, to the next pixel: as interpolation leaves them."""
    digest: bytes
    """Of the stored values and their shape."""
    ramp_values: tuple[tuple[int, int], ...] = ()
    """(value, ramps): the value between its neighbours in each of ``num_ramps``, sorted."""

    @property
    def lossy(self) -> bool:
        """Whether the format changes values on writing."""
        return self.format in _LOSSY


def look_at_image(source: Path | str | ByteSource, *, max_image_pixels: int) -> ImageLook:
    """Decode an image.

    Raises:
        ImageReadError: it cannot be read to its end, or is above ``max_image_pixels``.
    """
    with open_image(source, max_image_pixels=max_image_pixels) as image:
        orientation, mode = orientation_of(image), image.mode
        size = native_size(image, orientation)
        stored_color = content_channels(image) == 3
        decoded = decode(image, 3)
    pixels = decoded.pixels
    grey = stored_color and bool((pixels[..., :1] == pixels[..., 1:]).all())
    luma = Image.fromarray(pixels).convert("L")
    low, high = luma.getextrema()
    return ImageLook(
        size=size,
        mode=mode,
        orientation=orientation,
        low=int(low),  # type: ignore[arg-type]
        high=int(high),  # type: ignore[arg-type]
        rgb=pixel_stats(pixels),
        grey_as_color=grey,
        remark=decoded.remark,
        digest=_digest(pixels),
        thumbnail=luma.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX).tobytes(),
    )


def look_at_mask(path: Path | str, *, max_image_pixels: int) -> MaskLook:
    """Decode a mask without translating its values.

    Raises:
        ImageReadError: it cannot be read to its end, or is above ``max_image_pixels``.
    """
    with open_image(path, max_image_pixels=max_image_pixels) as image:
        mode = image.mode  # as the file has it, which the values do not tell
    read = read_values(path, max_image_pixels=max_image_pixels)
    stored = read.values
    values: tuple[tuple[int, int], ...] = ()
    colors: tuple[tuple[tuple[int, int, int], int], ...] = ()
    ramps: tuple[tuple[int, int], ...] = ()
    num_colors = steps = 0
    if read.in_color:
        colors, num_colors = _colors(stored.astype(np.uint8, copy=False))
    else:
        values = _counted(stored)
        steps, between = _steps(stored)
        ramps = _counted(stored[:, 1:-1][between])
    height, width = stored.shape[:2]
    return MaskLook(
        size=(height, width),
        mode=mode,
        format=read.format,
        orientation=read.orientation,
        values=values,
        colors=colors,
        num_colors=num_colors,
        num_steps=steps,
        num_ramps=sum(count for _, count in ramps),
        ramp_values=ramps,
        digest=_digest(stored),
    )


def ramp_counts(values: NDArray[Any]) -> tuple[int, int]:
    """Count steps between horizontal neighbours of ``values`` (H, W), and those that go on in the same direction.

    255 is no step: it is a border drawn around objects, or the ignore label, and no end of a scale.
    """
    steps, between = _steps(values)
    return steps, int(np.count_nonzero(between))


def _steps(values: NDArray[Any]) -> tuple[int, NDArray[np.bool_]]:
    """The steps of `ramp_counts`, and (H, W - 2) where a value lies between its neighbours."""
    left, right = values[:, :-1], values[:, 1:]
    inside = values != 255
    both = inside[:, :-1] & inside[:, 1:]
    rising, falling = (right > left) & both, (right < left) & both
    going_on = (rising[:, 1:] & rising[:, :-1]) | (falling[:, 1:] & falling[:, :-1])
    return int(np.count_nonzero(rising) + np.count_nonzero(falling)), going_on


def num_bytes_of(source: Path | str | ByteSource) -> int:
    """The length of the file, or of the member of a shard; -1 where it is not there."""
    if isinstance(source, Path | str):
        try:
            return os.stat(source).st_size  # noqa: PTH116 - strings are not made Paths first
        except OSError:
            return -1
    return source.num_bytes


def file_digest(source: Path | str | ByteSource) -> bytes:
    """The digest of the bytes, read piece by piece; empty where they cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with source.open() if not isinstance(source, Path | str) else open(source, "rb") as file:  # noqa: PTH123
            while piece := file.read(_CHUNK):
                digest.update(piece)
    except (OSError, ImageReadError):
        return b""
    return digest.digest()


def _digest(pixels: NDArray[np.generic]) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _counted(stored: NDArray[Any]) -> tuple[tuple[int, int], ...]:
    """(value, pixels), sorted."""
    if stored.dtype == np.uint8:  # no sorting: twenty times faster
        pixels = np.bincount(stored.ravel(), minlength=256)
        found = np.flatnonzero(pixels)
        pixels = pixels[found]
    else:
        found, pixels = np.unique(stored, return_counts=True)
    return tuple(zip(map(int, found), map(int, pixels), strict=True))


def _colors(stored: NDArray[np.uint8]) -> tuple[tuple[tuple[tuple[int, int, int], int], ...], int]:
    """The most frequent colours with their pixels, and how many there are."""
    codes, pixels = np.unique(packed_colors(stored), return_counts=True)
    order = np.argsort(-pixels, kind="stable")[:_MOST_COLORS]
    found = tuple(
        (unpack_color(code), count) for code, count in zip(codes[order].tolist(), pixels[order].tolist(), strict=True)
    )
    return found, len(codes)
