"""The values in a mask file, as they were written: a palette's indices, grey levels, or colours."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS
from anysize.data.pillow import ByteSource, ImageReadError, open_image, orientation_of

__all__ = ["MaskValues", "read_orientation", "read_values"]

_Values = NDArray[np.uint8] | NDArray[np.uint16]

# Pillow spreads grey levels of 2 and 4 bits over 0..255; a mask's are indices.
_SPREAD = {"L;2": 85, "L;4": 17, "L;2I": 85, "L;4I": 17}
_INVERTED = frozenset({"1;I", "1;IR", "L;I", "L;2I", "L;4I", "L;IR"})


@dataclass(frozen=True, eq=False)
class MaskValues:
    """The content of one mask file, upright as its EXIF orientation says.

    Args:
        values: (H, W) uint8 or uint16 of an index mask, or (H, W, 3) uint8 of a mask in colour.
        palette: (M, 3) uint8, the colours of the indices 0..M-1; None where the file has none.
        format: as Pillow calls it, such as "PNG".
        orientation: 1 to 8, applied already.
    """

    values: _Values
    palette: NDArray[np.uint8] | None
    format: str
    orientation: int

    @property
    def in_color(self) -> bool:
        """Whether the pixels are colours, rather than indices."""
        return self.values.ndim == 3


def read_values(path: Path | str, *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS) -> MaskValues:
    """Decode a mask without any change of its values: no conversion of modes, no palette applied.

    Raises:
        ImageReadError: not an image, damaged, too large, or of a kind that holds no labels (floats, transparency).
    """
    with open_image(path, max_image_pixels=max_image_pixels) as image:
        orientation = orientation_of(image)
        rawmode = _rawmode(image)
        palette = _palette(image)
        image.load()
        values = _values(image, rawmode)
        # Pillow turns TIFF files itself when it decodes them.
        if image.format != "TIFF":
            values = _upright(values, orientation)
        return MaskValues(values.copy(order="C"), palette, str(image.format), orientation)


def read_orientation(path: Path | str | ByteSource, *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS) -> int:
    """The EXIF orientation of an image, 1 to 8, from its header.

    Raises:
        ImageReadError: it cannot be read.
    """
    with open_image(path, max_image_pixels=max_image_pixels) as image:
        return orientation_of(image)


def _rawmode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None) or ()
    for tile in tiles:
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if arguments and isinstance(arguments[0], str):
            return arguments[0]
    return ""


def _palette(image: Image.Image) -> NDArray[np.uint8] | None:
    if image.mode != "P" or image.palette is None:
        return None
    colors = image.getpalette("RGB")
    return None if not colors else np.array(colors, np.uint8).reshape(-1, 3)


def _values(image: Image.Image, rawmode: str) -> _Values:
    if image.mode in ("L", "P"):
        values = np.array(image)
        if rawmode in _INVERTED:
            values = 255 - values
        return values // np.uint8(_SPREAD.get(rawmode, 1))
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_integers(np.asarray(image))
    if image.mode == "RGB":
        return np.array(image)
    if image.mode in ("RGBA", "LA"):
        return _without_alpha(np.array(image))
    raise ImageReadError(
        f"its pixels are of mode {image.mode} ({_KINDS.get(image.mode, 'neither indices nor colours')}); a label mask "
        "is a palette or grey PNG whose values are class indices, or an RGB PNG"
    )


_KINDS = {"F": "floating point", "CMYK": "printing inks", "YCbCr": "luma and chroma", "LAB": "CIE L*a*b*"}


def _from_integers(values: NDArray[np.generic]) -> NDArray[np.uint16]:
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise ImageReadError(f"its values reach from {wide.min()} to {wide.max()}; a label mask holds 0..255")
    return wide.astype(np.uint16)


def _without_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    clear = int((pixels[..., -1] != 255).sum())
    if clear:
        raise ImageReadError(
            f"{clear:,} of its {pixels[..., -1].size:,} pixels are transparent, and a label mask has no transparency; "
            "save it without an alpha channel"
        )
    return pixels[..., :-1] if pixels.shape[-1] == 4 else pixels[..., 0]


def _upright(values: _Values, orientation: int) -> _Values:
    """Undo the camera's orientation (EXIF 2.32, tag 0x0112); (H, W) or (H, W, 3)."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    # After the axes are exchanged: 6 is a mirrored transpose, 8 a flipped one, 7 both.
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
