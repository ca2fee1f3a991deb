"""The slow way that is always exact: a function applied to each image alone, and the results laid on a new canvas."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.laying import lay_images, take_images
from anysize.ragged.lengths import lengths_of_sizes
from anysize.ragged.registry import refusal

__all__ = ["each_image"]


def each_image(function: Callable[..., Any], batch: RaggedBatch, call: Callable[[Tensor, int], Tensor]) -> RaggedBatch:
    """Apply ``call(image, number)`` to each image (1, C, *size) alone: (N, C, *spatial) -> (N, C', *spatial').

    For functions whose result for one image cannot be had on a common canvas. The native kernel runs N times; what
    that costs is a launch each, no padded pixel is worked.

    Args:
        function: named in the refusal.
        batch: (N, C, *spatial).
        call: returns (1, C', *size'), of any size.

    Raises:
        UnsupportedOperatorError: while compiling: a graph cannot be of each image's size.
    """
    if torch.compiler.is_compiling():
        raise refusal(function, "it works on each image by itself, which torch.compile cannot trace")
    images = take_images(batch.canvas, batch.columns)
    results = [call(image[None], number)[0] for number, image in enumerate(images)]
    lengths = lengths_of_sizes([result.shape[1:] for result in results])
    extents = tuple(max(length.values) for length in lengths)
    return RaggedBatch.laid_out(lay_images(results, extents), lengths, Padding.ZERO)
