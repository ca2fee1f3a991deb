"""A few images and masks laid on each other: whether they belong together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anysize.data.images import ImageReadError, read_image
from anysize.data.masks.coding import MaskCoding
from anysize.data.masks.reading import read_mask
from anysize.doctor.data.survey import Pair, Part
from anysize.doctor.finding import Finding
from anysize.doctor.pairing import check_pairing
from anysize.errors import DataError

__all__ = ["NUM_TRIED", "lay_on_each_other"]

NUM_TRIED = 16
"""Pairs that are tried: neighbours in the list, for lists that slipped against each other show only there."""
_SIDE = 1024  # only the top left corner of larger ones: what is held stays small


def lay_on_each_other(
    part: Part, pairs: Sequence[Pair], coding: MaskCoding, *, max_image_pixels: int
) -> tuple[tuple[Finding, ...], int]:
    """What `check_pairing` says of some neighbouring pairs in the middle of a part, and how many were tried.

    Args:
        part: the split, usually train.
        pairs: of that part, in order; those whose sizes do not fit are passed over, other checks name them.
        coding: what the values of masks mean.
        max_image_pixels: larger files are passed over.
    """
    fitting = [
        pair for pair in pairs if pair.counts is not None and np.count_nonzero(pair.counts) > 1 and _same_size(pair)
    ]
    first = max(0, (len(fitting) - NUM_TRIED) // 2)
    images: list[NDArray[np.uint8]] = []
    masks: list[NDArray[np.uint8]] = []
    names: list[str] = []
    for pair in fitting[first : first + NUM_TRIED]:
        try:
            image = read_image(part.table.root / pair.image, 1, max_image_pixels=max_image_pixels)
            mask = read_mask(part.table.root / pair.path, coding, max_image_pixels=max_image_pixels)
        except (ImageReadError, DataError):  # other checks name it
            continue
        images.append(image[:_SIDE, :_SIDE, 0].copy())
        masks.append(mask[:_SIDE, :_SIDE].copy())
        names.append(pair.image)
    return tuple(check_pairing(images, masks, names)), len(names)


def _same_size(pair: Pair) -> bool:
    return pair.look.size == pair.image_size
