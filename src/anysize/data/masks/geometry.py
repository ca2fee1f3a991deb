"""Masks that do not lie on their images: other sizes, and turned otherwise."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.mask_set import MaskSet, counted

__all__ = ["exchanged", "same_shape", "size_problems"]

_SAME_SHAPE = 0.02
_ANOTHER_SIZE = ("has", "have", " another size than the image")
_EVERY_PIXEL = "every pixel of an image needs a label of its own, at the same place"


def size_problems(given: MaskSet) -> list[MaskProblem]:
    """Masks of another size than their image, and masks turned by EXIF as their image is not."""
    return [*_other_sizes(given), *_turned_alike(given)]


def exchanged(masks: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) Of sizes (N, 2) that differ, whether height and width of one are width and height of the other."""
    found: NDArray[np.bool_] = (masks == sizes[:, ::-1]).all(axis=1)
    return found


def same_shape(masks: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) Whether the one is the other at another scale, both its sides rounded to pixels in one way.

    A side of 41 becomes 20 or 21 at half the scale: sides a, b that were A, B have |a/A - b/B| < 1 / min(A, B).
    """
    mask_is_larger = masks.prod(axis=1) > sizes.prod(axis=1)
    small = np.where(mask_is_larger[:, None], sizes, masks)
    large = np.where(mask_is_larger[:, None], masks, sizes)
    scales = small / large
    apart: NDArray[np.float64] = np.abs(scales[:, 0] - scales[:, 1])
    alike: NDArray[np.bool_] = apart < np.maximum(1 / large.min(axis=1), _SAME_SHAPE * scales.min(axis=1))
    return alike


def _other_sizes(given: MaskSet) -> list[MaskProblem]:
    masks = np.array([(fact.height, fact.width) for fact in given.facts], np.int64).reshape(-1, 2)
    wrong = (masks != given.sizes).any(axis=1)
    swapped = wrong & exchanged(masks, given.sizes)
    own = np.array([fact.orientation for fact in given.facts], np.int64)
    turned = swapped & ((given.orientations >= 5) != (own >= 5))
    scaled = wrong & ~swapped & same_shape(masks, given.sizes)
    return [
        *_problem(
            given,
            turned,
            "exif_turned",
            ("lies on its side", "lie on their sides", ": EXIF turns image and mask differently"),
            "a mask must be upright as its image is",
            "where a mask was drawn on the unturned pixels, remove the tag from its image: exiftool -Orientation= "
            "IMAGE; else turn the mask",
        ),
        *_problem(
            given,
            swapped & ~turned,
            "exchanged",
            ("has", "have", " height and width exchanged: each was transposed, or turned by a quarter"),
            _EVERY_PIXEL,
            "no size shows which: look at one beside its image; then, in Python, "
            f"{_call(given.root, 'transpose')} undoes a transpose, and {_call(given.root, 'left')} or "
            f"{_call(given.root, 'right')} turns the masks by a quarter; they are overwritten: keep a copy",
        ),
        *_problem(
            given,
            scaled,
            "size",
            _ANOTHER_SIZE,
            _EVERY_PIXEL,
            "the masks have the shape of their images, at another scale: in Python, "
            f"{_call(given.root, 'resize')} resizes each to its image by nearest neighbour (they are "
            "overwritten: keep a copy); or use the images that the masks were drawn on",
        ),
        *_problem(
            given,
            wrong & ~swapped & ~scaled,
            "size",
            _ANOTHER_SIZE,
            _EVERY_PIXEL,
            "the masks have another shape than their images, so that a resized mask would not fit: look for the images "
            "that they were drawn on, or leave these pairs out",
        ),
    ]


def _problem(
    given: MaskSet, which: NDArray[np.bool_], kind: str, found: tuple[str, str, str], expected: str, fix: str
) -> list[MaskProblem]:
    """The problem of the masks of ``which`` (N,); none where there are no such masks.

    Args:
        given: all masks.
        which: those concerned.
        kind, expected, fix: of the problem.
        found: the verb behind one mask, that behind several, and how it goes on.
    """
    rows = np.flatnonzero(which).tolist()
    if not rows:
        return []
    return [
        MaskProblem(
            kind=kind,
            severity="error",
            found=counted(len(rows), found[0], found[1]) + found[2],
            expected=expected,
            fix=fix,
            paths=given.paths(rows),
            details=tuple(
                f"the mask is {given.facts[row].height}x{given.facts[row].width}, the image {given.sizes[row, 0]}x"
                f"{given.sizes[row, 1]} (height x width)"
                for row in rows
            ),
        )
    ]


def _call(root: Path, how: str) -> str:
    """What runs as it is when pasted into Python, in any folder: one line, as reports show fixes in one."""
    folder = str(root.absolute())
    arguments = repr(folder) if how == "resize" else f"{folder!r}, {how!r}"
    return f"`from anysize.data.masks.mending import fit_masks; fit_masks({arguments})`"


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
