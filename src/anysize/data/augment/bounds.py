"""The largest sizes that augmentation can give, in closed form."""

import numpy as np
from numpy.typing import NDArray

from anysize.data.augment.geometry import draw_geometry
from anysize.data.augment.options import Augmentation

__all__ = ["largest_sizes"]


def largest_sizes(
    native: NDArray[np.int64], augmentation: Augmentation | None, *, max_side: int | None, smallest_side: int
) -> NDArray[np.int64]:
    """(N, 2) heights and widths that `draw_geometry` never exceeds, whatever the seed and the epoch.

    Drawing all epochs would take long, and drawing some of them would miss the largest.

    Args:
        native: (N, 2) heights and widths of the images.
        augmentation: None for no variation.
        max_side: images with a longer side are shrunk to it.
        smallest_side: no side is made smaller.
    """
    plain = draw_geometry(
        native, np.arange(len(native)), None, seed=0, epoch=0, max_side=max_side, smallest_side=smallest_side
    ).sizes
    if augmentation is None:
        return plain
    shrink = plain.max(axis=1, keepdims=True) / native.max(axis=1, keepdims=True)
    stretch = np.sqrt([augmentation.aspect[1], 1 / augmentation.aspect[0]])  # of the height, of the width
    sides = native * shrink * augmentation.scale[1] * stretch
    # Against each side the other may be cropped most, and stretched least: the aspect is kept by what follows, and
    # by a rotation too.
    kept = np.maximum(np.floor(native * augmentation.crop), np.minimum(native, smallest_side))
    aspect = native / np.maximum(kept[:, ::-1], 1) * stretch**2
    # Where the other side comes out below the smallest one, both are enlarged until it is not.
    sides = np.maximum(sides, np.minimum(plain, smallest_side)[:, ::-1] * aspect)
    if max_side is not None:
        sides = np.minimum(sides, np.minimum(aspect, 1) * max_side)
    # Rounded up, with room for a half that is rounded away from it; what is not varied keeps its size.
    largest = np.maximum(np.floor(sides + 0.5 + 1e-6), plain)
    if augmentation.crop_size is not None:
        largest = np.minimum(largest, augmentation.crop_size)
    return np.asarray(largest, dtype=np.int64)
