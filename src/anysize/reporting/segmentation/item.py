"""One image with its masks, as the sheets show it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anysize.data.masks.coding import IGNORED
from anysize.errors import UsageError

__all__ = ["Colors", "OverlayItem", "check_colors", "occurring_classes"]

Colors = Sequence[tuple[int, int, int]]
"""(red, green, blue) of each class, 0..255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayItem:
    """One image, its mask and what was predicted.

    Args:
        image: ``(H, W, C)`` uint8, C = 1 or 3.
        name: the file's name.
        truth: ``(H, W)`` uint8, class indices and 255 for ignored pixels; None where there is no mask.
        prediction: ``(H, W)`` uint8, class indices; None where there is none. Masks may be larger or smaller than the
            image, as where it was shrunk on reading, but of one size.
        scores: words beside the name, such as ``"mean IoU 71 %"``.
    """

    image: NDArray[np.uint8]
    name: str
    truth: NDArray[np.uint8] | None = None
    prediction: NDArray[np.uint8] | None = None
    scores: str = ""

    def __post_init__(self) -> None:
        shape, kind = self.image.shape, self.image.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise UsageError(
                f"image {self.name} is {kind} of shape {shape}; "
                "uint8 (H, W, C) with C = 1 or 3 and no empty side is needed"
            )
        for what, mask in (("mask", self.truth), ("prediction", self.prediction)):
            if mask is not None and (mask.dtype != np.uint8 or mask.ndim != 2 or 0 in mask.shape):
                raise UsageError(
                    f"the {what} of {self.name} is {mask.dtype} of shape {mask.shape}; "
                    "uint8 (H, W) without an empty side is needed"
                )
        if self.truth is not None and self.prediction is not None and self.truth.shape != self.prediction.shape:
            raise UsageError(
                f"the prediction of {self.name} has shape {self.prediction.shape} and its mask {self.truth.shape}; "
                "they must be of one size",
                hint="predict at the size of the mask",
            )

    @property
    def true_size(self) -> tuple[int, int]:
        """``(height, width)`` of the mask, else of the prediction, else of the image."""
        for mask in (self.truth, self.prediction):
            if mask is not None:
                return mask.shape[0], mask.shape[1]
        return self.image.shape[0], self.image.shape[1]


def check_colors(items: Sequence[OverlayItem], colors: Colors, classes: Sequence[str]) -> None:
    """Check that every label has a colour and a name.

    Raises:
        UsageError: the numbers of colours and of names differ, or a mask holds what is no class.
    """
    if len(colors) != len(classes):
        raise UsageError(f"there are {len(colors)} colours and {len(classes)} classes; one colour a class is needed")
    for item in items:
        for what, mask in (("mask", item.truth), ("prediction", item.prediction)):
            wrong = [label for label in _labels(mask) if label >= len(classes)]
            if wrong:
                raise UsageError(
                    f"the {what} of {item.name} holds {wrong[0]}; class indices must lie in 0..{len(classes) - 1}, "
                    f"and {IGNORED} marks pixels to ignore"
                )


def occurring_classes(items: Sequence[OverlayItem]) -> list[int]:
    """The classes in any mask or prediction, ascending."""
    return sorted({label for item in items for mask in (item.truth, item.prediction) for label in _labels(mask)})


def _labels(mask: NDArray[np.uint8] | None) -> list[int]:
    """What a mask holds, 255 excepted."""
    if mask is None:
        return []
    return [int(label) for label in np.flatnonzero(np.bincount(mask.ravel(), minlength=1)) if label != IGNORED]
