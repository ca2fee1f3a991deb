"""A few training images as training sees them, but for what is drawn at random: at its limits, not augmented."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anysize.data import ImageDataset
from anysize.training.setup import Setup
from anysize.training.source import images_of

__all__ = ["load_sample", "plain_images"]


def plain_images(setup: Setup, indices: Sequence[int]) -> ImageDataset:
    """Training images by their index, with the masks' coding and the limits of the run; all their pixels count."""
    train = images_of(setup.train)
    return ImageDataset(
        train.table.select(np.asarray(indices, dtype=np.int64)),
        train.channels,
        coding=train.coding,
        max_side=train.max_side,
        max_image_pixels=train.max_image_pixels,
    )


def load_sample(images: ImageDataset, place: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | int]:
    """Return an image, uint8 (H, W, C), and its target: a mask, uint8 (H, W), or a class."""
    if images.has_masks:
        return images.load_pair(place)
    return images.load(place), images.label(place)
