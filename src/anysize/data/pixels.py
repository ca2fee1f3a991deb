"""From any of Pillow's modes to 8-bit grey or RGB, by the same rules for every image wherever that can be."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Decoded", "content_channels", "decode"]

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})
_PALETTE_ENTRY_BYTES = {"RGB": 3, "BGR": 3, "RGBX": 4, "BGRX": 4, "RGBA": 4, "BGRA": 4}


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels, and what a reader of the data ought to know about how they came about (None: nothing)."""

    pixels: NDArray[np.uint8]  # (H, W, C), not yet turned by the orientation
    remark: str | None = None


def content_channels(image: Image.Image) -> Literal[1, 3]:
    """1 if the header shows that the content is grey (grey modes, or a palette of greys only), else 3."""
    if image.mode in _GREY_MODES or image.mode.startswith("I;16"):
        return 1
    if image.mode in ("P", "PA") and _has_grey_palette(image):
        return 1
    return 3


def _has_grey_palette(image: Image.Image) -> bool:
    """Whether all entries of the palette, used or not, are grey: the header does not say which are used."""
    palette = image.palette
    if palette is None:
        return False
    layout = palette.rawmode or palette.mode
    colors = bytes(palette.palette)
    if layout == "RGB;L":  # TIFF keeps all reds first, then all greens, then all blues
        planes = np.frombuffer(colors[: len(colors) // 3 * 3], np.uint8).reshape(3, -1)
        return bool(planes.size) and bool((planes == planes[0]).all())
    entry = _PALETTE_ENTRY_BYTES.get(layout)
    if entry is None:
        return False
    entries = np.frombuffer(colors[: len(colors) // entry * entry], np.uint8).reshape(-1, entry)[:, :3]
    return bool(entries.size) and bool((entries == entries[:, :1]).all())


def decode(image: Image.Image, channels: Literal[1, 3]) -> Decoded:
    """Decode an opened image. The rules:

    - Transparency is laid over white, whether it is an alpha channel, a palette's or a single transparent
      colour: colours hidden under it never show, and a fully transparent image is white (with a remark).
    - 1 bit: 0 and 255. 16 bit, and 32-bit integers from PPM: divided by 257, never stretched or clipped, so
      that two images stay comparable.
    - Floating point, and 32-bit integers from TIFF, have no agreed range. Floats within 0..1 are multiplied
      by 255; values within 0..255 are taken as they are; integers within 0..65535 are divided by 257; any
      others are stretched from their own minimum to their own maximum, with a remark. NaN and infinity are
      refused.
    - CMYK and YCbCr as Pillow converts them, LAB (D50) to sRGB. Embedded colour profiles are not applied.
    - Colour to grey: ITU-R 601 luma; grey to colour: three equal channels.

    Args:
        image: opened by `open_image`.
        channels: 1 or 3.

    Raises:
        ValueError: a mode or values that no rule covers.
    """
    image.load()
    mode = image.mode
    if mode.startswith("I;16"):
        return _from_grey(*_from_16_bit(image), channels)
    if mode in ("I", "F"):
        return _from_grey(*_from_32_bit(image), channels)
    if mode == "LAB":
        image = Image.fromarray(_lab_to_rgb(np.asarray(image)))
    remark = None
    if image.has_transparency_data:
        image, remark = _over_white(image)
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")  # also on the way to grey: one definition of luma for every mode
    target = "L" if channels == 1 else "RGB"
    if image.mode != target:
        image = image.convert(target)
    pixels = np.array(image)  # a copy: what Pillow lends out is read-only
    return Decoded(pixels.reshape(*pixels.shape[:2], channels), remark)


def _from_grey(grey: NDArray[np.uint8], remark: str | None, channels: Literal[1, 3]) -> Decoded:
    return Decoded(np.repeat(grey[:, :, None], channels, axis=2), remark)


def _from_16_bit(image: Image.Image) -> tuple[NDArray[np.uint8], str | None]:
    values = np.asarray(image)
    grey = _divided_by_257(values)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    top = int(values.max())
    if 0 < top < 4096:
        return grey, f"16-bit values only up to {top}: at 8 bit {top // 257 + 1} grey levels are left"
    return grey, None


def _from_32_bit(image: Image.Image) -> tuple[NDArray[np.uint8], str | None]:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite values")
    low, high = float(values.min()), float(values.max())
    if image.format == "PPM":
        return _divided_by_257(values), None
    if image.mode == "F" and low >= 0 and high <= 1:
        return _rounded(values * 255), None
    if low >= 0 and high <= 255:
        return _rounded(values), None
    if image.mode == "I" and low >= 0 and high <= 65535:
        return _divided_by_257(values), None
    stretched = _rounded((values - low) * (255 / max(high - low, np.finfo(np.float64).tiny)))
    return stretched, (
        f"values from {low:g} to {high:g} are stretched to 0..255 for this image alone: brightness cannot be "
        "compared with other images; store 8 or 16 bit with one scale for all"
    )


def _divided_by_257(values: NDArray[Any]) -> NDArray[np.uint8]:
    """0..65535 to 0..255, rounded: 257 = 65535 / 255."""
    return ((values.astype(np.int64) + 128) // 257).clip(0, 255).astype(np.uint8)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded


def _over_white(image: Image.Image) -> tuple[Image.Image, str | None]:
    grey = image.mode in ("1", "L", "LA", "La")
    # Pillow makes an alpha channel of a single transparent value and of a palette's, too.
    with_alpha = image.convert("LA" if grey else "RGBA")
    alpha = with_alpha.getchannel("A")
    white = Image.new(with_alpha.mode, with_alpha.size, (255, 255) if grey else (255,) * 4)
    composed = Image.composite(with_alpha, white, alpha).convert("L" if grey else "RGB")
    if alpha.getextrema()[1] == 0:
        return composed, "the image is transparent everywhere: read as all white"
    return composed, None


# CIE XYZ under D50 to linear sRGB, Bradford-adapted (Lindbloom, "RGB/XYZ Matrices").
_XYZ_D50_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)
_D50 = np.array([0.96422, 1.0, 0.82521])


def _lab_to_rgb(lab: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """CIE 1976 L*a*b*, 8 bit as in TIFF (L* x 2.55; a* and b* as signed bytes), to sRGB; (H, W, 3) both."""
    lightness, ab = lab[..., 0].astype(np.float64), lab[..., 1:].astype(np.int8).astype(np.float64)
    fy = (lightness / 2.55 + 16) / 116
    fx, fz = fy + ab[..., 0] / 500, fy - ab[..., 1] / 200
    f = np.stack([fx, fy, fz], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D50
    linear = (xyz @ _XYZ_D50_TO_SRGB.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return _rounded(srgb * 255)
