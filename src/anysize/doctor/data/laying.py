"""A few images and masks laid on each other: whether they belong together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.images import ImageReadError, read_image
from anysize.data.masks.coding import IGNORED, UNKNOWN, MaskCoding
from anysize.data.masks.moving import Move, kept_folder
from anysize.data.masks.palette import color_text
from anysize.data.masks.reading import read_mask
from anysize.data.masks.rules import MaskRules
from anysize.doctor.data.survey import Pair, Part
from anysize.doctor.finding import Finding
from anysize.doctor.pairing import check_pairing
from anysize.errors import DataError

__all__ = ["NUM_TRIED", "lay_on_each_other", "moving"]

NUM_TRIED = 16
"""Pairs that are tried: neighbours in the list, for lists that slipped against each other show only there."""
_SIDE = 1024  # only the middle of larger ones: what is held stays small, and lies there however a mask is turned
_FILL_COLORS = ((224, 224, 192), (1, 2, 3), (3, 2, 1))  # the first that is none of the masks'


def lay_on_each_other(
    part: Part,
    pairs: Sequence[Pair],
    coding: MaskCoding,
    *,
    data: Path,
    rules: MaskRules,
    max_image_pixels: int,
) -> tuple[tuple[Finding, ...], int]:
    """What `check_pairing` says of some neighbouring pairs in the middle of a part, and how many were tried.

    Args:
        part: the split, usually train.
        pairs: of that part, in order; those whose sizes do not fit are passed over, other checks name them.
        coding: what the values of masks mean.
        data: the folder or table that was given, for the fix.
        rules: what was said about masks, for the fix.
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
        images.append(_middle(image[..., 0]))
        masks.append(_middle(mask))
        names.append(pair.image)
    found = check_pairing(images, masks, names, mend=lambda move: moving(data, move, coding, rules))
    return tuple(found), len(names)


def moving(data: Path, move: Move, coding: MaskCoding, rules: MaskRules) -> str:
    """How all masks of ``data`` are moved: a line of Python that runs as it is when pasted, in any folder."""
    folder = data.absolute()
    arguments = [repr(str(folder)), repr(move)]
    then = ""
    if isinstance(move, tuple):
        fill, flag = _without_label(coding, rules)
        arguments += [] if fill == IGNORED else [f"fill={fill!r}"]
        then = "; what it leaves open has no label" + (f" with {flag}" if flag else "")
    return (
        f"in Python, `from anysize.data.masks.moving import move_masks; move_masks({', '.join(arguments)})` does so "
        f"to all masks, those of validation too, and keeps the old ones in {kept_folder(folder)}{then}; look at the "
        "overlays first"
    )


def _without_label(coding: MaskCoding, rules: MaskRules) -> tuple[int | tuple[int, int, int], str]:
    """A value (or colour) of the files that means no label, and the flag that says so where nothing does yet."""
    if coding.colors is not None:
        meanings = dict(coding.colors)
        ignored = next((color for color, meaning in coding.colors if meaning == IGNORED), None)
        if ignored is not None:
            return ignored, ""
        free = next(color for color in _FILL_COLORS if color not in meanings)
        return free, f"{color_text(free)}=ignore in --mask-palette"
    if coding.class_of(IGNORED) == IGNORED:
        return IGNORED, ""
    if IGNORED in coding.lookup:
        return coding.lookup.index(IGNORED), ""
    value = max(value for value in range(256) if coding.class_of(value) == UNKNOWN)
    return value, rules.flag_ignoring([value])


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of (H, W) at most (1024, 1024)."""
    top, left = (max(0, (side - _SIDE) // 2) for side in pixels.shape)
    return pixels[top : top + _SIDE, left : left + _SIDE].copy()


def _same_size(pair: Pair) -> bool:
    return pair.look.size == pair.image_size
