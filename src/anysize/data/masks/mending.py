"""Masks of another size than their image, made to fit: what the checks of sizes advise."""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS, ImageReadError, read_header
from anysize.data.masks.geometry import exchanged, same_shape
from anysize.data.masks.rewriting import listed_masks, unreadable, write_values
from anysize.data.masks.values import read_orientation, read_values
from anysize.errors import UsageError

__all__ = ["Mend", "fit_masks"]

Mend = Literal["resize", "transpose", "left", "right"]


def fit_masks(root: Path | str, how: Mend = "resize", *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS) -> int:
    """Overwrite the masks that do not lie on their images and do so after ``how``; the others are left as they are.

    Args:
        root: data as `load_data` takes them.
        how: "resize" (by nearest neighbour) masks of the shape of their image at another scale; "transpose", or turn
            to the "left" or "right" by a quarter, masks whose height and width are exchanged.
        max_image_pixels: height x width above which a file is refused.

    Returns:
        How many masks were written anew.

    Raises:
        DataError: there are no masks; one cannot be read, or its format would change its values.
        UsageError: ``how`` is something else.
    """
    if how not in get_args(Mend):
        raise UsageError(f"fit_masks was asked to {how!r}; it can resize, transpose, left or right")
    listing, masks = listed_masks(root)
    written = 0
    for image, mask in zip(listing.paths, masks, strict=True):
        try:
            written += _fit(listing.root / image, listing.root / mask, how, max_image_pixels)
        except ImageReadError as error:
            raise unreadable(image, mask, error) from error
    return written


def _fit(image: Path, mask: Path, how: Mend, max_image_pixels: int) -> bool:
    """Whether the mask was written anew."""
    header = read_header(image, max_image_pixels=max_image_pixels)
    found = read_header(mask, max_image_pixels=max_image_pixels)
    size = np.array([[header.height, header.width]], np.int64)
    own = np.array([[found.height, found.width]], np.int64)
    if bool((own == size).all()):
        return False
    if exchanged(own, size).all():
        # What EXIF turns otherwise than its image is right as soon as the tag is.
        on_side = [read_orientation(path, max_image_pixels=max_image_pixels) >= 5 for path in (image, mask)]
        if how == "resize" or on_side[0] != on_side[1]:
            return False
    elif how != "resize" or not same_shape(own, size).all():
        return False
    read = read_values(mask, max_image_pixels=max_image_pixels)
    values = np.ascontiguousarray(_mended(read.values, how, (header.height, header.width)))
    write_values(mask, read, values, max_image_pixels)
    return True


def _mended(values: NDArray[Any], how: Mend, size: tuple[int, int]) -> NDArray[Any]:
    if how == "resize":
        # The pixel below the centre of each new one: no value is mixed, whatever it is.
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, values.shape[:2], strict=True)
        )
        return values[np.ix_(rows, columns)]
    return values.swapaxes(0, 1) if how == "transpose" else np.rot90(values, 1 if how == "left" else -1)
