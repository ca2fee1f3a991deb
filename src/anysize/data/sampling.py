"""Sampled targets: of an image's pixels, some at random count in the loss."""

import numpy as np
from numpy.typing import NDArray

from anysize.data.draws import sixteen_bits
from anysize.data.masks import IGNORED
from anysize.errors import UsageError

__all__ = ["require_share", "sampled_mask"]

_KEEP = 300  # of the draws of `anysize.data.augment`


def require_share(share: float) -> None:
    """Check a share of pixels.

    Raises:
        UsageError: it is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(
            f"sample_share is {share}; it must be above 0 and at most 1", hint="sample_share=1 lets all pixels count"
        )


def sampled_mask(mask: NDArray[np.uint8], share: float, *, seed: int, epoch: int, index: int) -> NDArray[np.uint8]:
    """Let each target pixel count with probability ``share``; of an image that has any, one pixel at least counts.

    Args:
        mask: uint8 (H, W), with `IGNORED` where nothing counts.
        share: above 0, to the nearest 1 / 65,536; 1 gives the mask back as it is.
        seed, epoch, index: the draw depends on these, and on the pixel's place, only.

    Returns:
        uint8 (H, W): the mask's values, and `IGNORED` at the pixels that were not drawn.
    """
    if share == 1:
        return mask
    draws = sixteen_bits(mask.size, seed, epoch, index, _KEEP).reshape(mask.shape)
    kept = np.where(draws < max(round(share * 65536), 1), mask, np.uint8(IGNORED))
    if (kept == IGNORED).all() and (counted := np.flatnonzero(mask != IGNORED)).size:
        first = counted[np.argmin(draws.ravel()[counted])]
        kept.flat[first] = mask.flat[first]
    return kept
