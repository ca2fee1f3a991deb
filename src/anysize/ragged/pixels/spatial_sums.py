"""Sums and means of each image over its own pixels, and what they are handed on as: images of one pixel."""

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length, product
from anysize.ragged.padding import sum_over_real_pixels

__all__ = ["global_mean", "one_pixel", "real_sum"]


def real_sum(input: RaggedBatch, dtype: torch.dtype) -> Tensor:
    """Sum each image over its pixels: (N, C, *spatial) -> (N, C, 1, ...)."""
    canvas = input.zeroed().to(dtype)
    if torch.compiler.is_compiling():
        return canvas.sum(tuple(range(2, canvas.dim())), keepdim=True)
    return sum_over_real_pixels(canvas, input.columns)


def global_mean(input: RaggedBatch) -> Tensor:
    """Average each image over its pixels: (N, C, *spatial) -> (N, C, 1, ...)."""
    # In float32 at least, as the native kernel: half precision holds neither the sum nor an area over 65,504.
    total = real_sum(input, torch.promote_types(input.dtype, torch.float32))
    area = product(input.lengths)
    return (total / area.tensor(total.device).reshape(-1, *(1,) * (total.dim() - 1))).to(input.dtype)


def one_pixel(input: RaggedBatch, values: Tensor) -> RaggedBatch:
    """Make a batch of images of one pixel of ``values`` (N, C, 1, ...)."""
    one = Length((1,) * len(input))
    return RaggedBatch.laid_out(values, (one,) * input.spatial_axes, Padding.ZERO)
