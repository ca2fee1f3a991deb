"""Mask files, found and written anew as they were: in their format, with their palette, value for value."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anysize.atomic import atomic_path
from anysize.data.formats import Listing, read_listing
from anysize.data.images import ImageReadError
from anysize.data.masks.values import MaskValues, read_values
from anysize.data.problems import printable
from anysize.errors import DataError

__all__ = ["listed_masks", "unreadable", "write_values"]

_VOID = (224, 224, 192)  # the colour of value 255 in Pascal VOC's palettes


def listed_masks(root: Path | str) -> tuple[Listing, tuple[str, ...]]:
    listing = read_listing(Path(root))
    if listing.masks is None:
        raise DataError(f"{root} has no label masks (it is read as {listing.layout})", hint="give the folder of both")
    return listing, tuple(listing.masks)


def unreadable(image: str, mask: str, error: ImageReadError) -> DataError:
    return DataError(
        f"{printable(mask)} or its image {printable(image)} cannot be read: {error.reason}",
        hint="restore the file, or leave out the pair",
    )


def write_values(path: Path, read: MaskValues, values: NDArray[Any], max_image_pixels: int) -> None:
    """Save as the file was, and only if the same values are read from it again.

    Raises:
        DataError: the format would change them.
    """
    image = Image.fromarray(values)
    if read.palette is not None:
        image.putpalette(_reaching(read.palette, int(values.max())).tobytes())
    mode = path.stat().st_mode
    with atomic_path(path) as temporary:
        image.save(temporary, format=read.format)
        if not np.array_equal(read_values(temporary, max_image_pixels=max_image_pixels).values, values):
            raise DataError(
                f"mask {printable(str(path))} is stored as {read.format}, which would change its values",
                hint="save the original masks as PNG",
            )
    path.chmod(mode)


def _reaching(palette: NDArray[np.uint8], value: int) -> NDArray[np.uint8]:
    """A palette that has a colour for ``value``: short ones are stored with fewer bits a pixel."""
    if value < len(palette):
        return palette
    longer = np.zeros((256, 3), np.uint8)
    longer[: len(palette)] = palette
    longer[255] = _VOID
    return longer
