"""Masks that do not lie on their images: other sizes, and turned otherwise."""

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.mask_set import MaskSet, counted

__all__ = ["size_problems"]


def size_problems(given: MaskSet) -> list[MaskProblem]:
    """Masks of another size than their image, and masks turned by EXIF as their image is not."""
    return [*_other_sizes(given), *_turned_alike(given)]


def _other_sizes(given: MaskSet) -> list[MaskProblem]:
    masks = np.array([(fact.height, fact.width) for fact in given.facts], np.int64).reshape(-1, 2)
    wrong = np.flatnonzero((masks != given.sizes).any(axis=1))
    exchanged = (masks[wrong] == given.sizes[wrong][:, ::-1]).all(axis=1)
    own = np.array([fact.orientation for fact in given.facts], np.int64)
    turned = wrong[exchanged & ((given.orientations[wrong] >= 5) != (own[wrong] >= 5))]
    others = np.setdiff1d(wrong, turned)
    problems = []
    if len(turned):
        problems.append(
            MaskProblem(
                kind="exif_turned",
                severity="error",
                found=f"{counted(len(turned), 'lies on its side', 'lie on their sides')}: EXIF turns image and mask "
                "differently",
                expected="a mask must be upright as its image is",
                fix="where a mask was drawn on the unturned pixels, remove the tag from its image: exiftool "
                "-Orientation= IMAGE; else turn the mask",
                paths=given.paths(turned.tolist()),
                details=_size_details(given, masks, turned.tolist()),
            )
        )
    if len(others):
        problems.append(
            MaskProblem(
                kind="size",
                severity="error",
                found=f"{counted(len(others), 'has', 'have')} another size than the image",
                expected="every pixel of an image needs a label of its own, at the same place",
                fix=_fix_sizes(given, masks, others),
                paths=given.paths(others.tolist()),
                details=_size_details(given, masks, others.tolist()),
            )
        )
    return problems


def _size_details(given: MaskSet, masks: NDArray[np.int64], rows: list[int]) -> tuple[str, ...]:
    return tuple(
        f"the mask is {masks[row, 0]}x{masks[row, 1]}, the image {given.sizes[row, 0]}x{given.sizes[row, 1]} "
        "(height x width)"
        for row in rows
    )


def _fix_sizes(given: MaskSet, masks: NDArray[np.int64], rows: NDArray[np.int64]) -> str:
    ratios = given.sizes[rows] / masks[rows]
    alike = np.abs(ratios[:, 0] / ratios[:, 1] - 1).max() < 0.02
    if alike:
        height, width = given.sizes[rows[0]].tolist()
        path = given.paths(rows[:1].tolist())[0]
        return (
            "the masks have the shape of their images, at another scale: resize each mask to its image by nearest "
            f"neighbour (from PIL import Image; Image.open({path!r}).resize(({width}, {height}), "
            f"Image.Resampling.NEAREST).save({path!r})), or use the images that the masks were drawn on"
        )
    return (
        "the masks have another shape than their images, so that a resized mask would not fit: look for the images "
        "that they were drawn on, or leave these pairs out"
    )


def _turned_alike(given: MaskSet) -> list[MaskProblem]:
    """Orientations that the sizes cannot tell apart: nobody can know what the mask was drawn on."""
    rows = [
        row
        for row, fact in enumerate(given.facts)
        if given.orientations[row] != fact.orientation
        and (fact.height, fact.width) == tuple(given.sizes[row].tolist())
        and ((given.orientations[row] < 5 and fact.orientation < 5) or fact.height == fact.width)
    ]
    if not rows:
        return []
    return [
        MaskProblem(
            kind="orientation",
            severity="warning",
            found=f"{len(rows)} image{'' if len(rows) == 1 else 's'} and their masks have different EXIF "
            "orientations, and the sizes do not show whether the mask was drawn on the upright image",
            expected="masks must be upright as their images are",
            fix="look at overlays of these; exiftool -Orientation= FILE removes the tag from an image",
            paths=given.paths(rows),
        )
    ]
