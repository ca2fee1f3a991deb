"""Adaptive pooling: each image over its own pixels, in as many windows as asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.pixels.reducing import lowest
from anysize.ragged.pixels.spatial_sums import global_mean, one_pixel
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.resizing import extents_of, resize_each, wanted_lengths
from anysize.ragged.shapes.taps import window_averages

__all__: list[str] = []


@register_rule(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
def adaptive_avg_pool(function: Callable[..., Any], input: RaggedBatch, output_size: Any) -> RaggedBatch:
    """Average each image in a grid of windows: (N, C, *spatial) -> (N, C, *output_size), images of that size."""
    wanted = wanted_lengths(function, input, output_size)
    if all(length.is_one for length in wanted):
        return one_pixel(input, global_mean(input))
    if torch.compiler.is_compiling() and all(length.known is not None for length in wanted):
        return _averaged(function, input, wanted)
    return resize_each(function, input, wanted, function)


@register_rule(
    functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d,
)  # fmt: skip
def adaptive_max_pool(
    function: Callable[..., Any],
    input: RaggedBatch,
    output_size: Any,
    return_indices: bool = False,  # noqa: ARG001 - true is another function, refused with the other pools
) -> RaggedBatch:
    """Take each image's maxima in a grid of windows: (N, C, *spatial) -> (N, C, *output_size), images of that size."""
    wanted = wanted_lengths(function, input, output_size)
    if all(length.is_one for length in wanted):
        # The pool itself is called, not amax: of several equal maxima it sends the gradient to the first alone.
        return one_pixel(input, function(input.masked(lowest(input.dtype)), 1))
    return resize_each(function, input, wanted, function)


@register_rule(torch.adaptive_max_pool1d)
def with_positions(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: ARG001
    """Refuse: this spelling always returns positions."""
    raise refusal(function, "it returns positions too; torch.nn.functional.adaptive_max_pool1d does not")


def _averaged(function: Callable[..., Any], input: RaggedBatch, wanted: tuple[Length, ...]) -> RaggedBatch:
    """Average on the common canvas, by matrices: what a compiled graph can hold."""
    counts = extents_of(function, wanted)
    # In float32 at least, as the native kernel. The matrices are zero outside the images.
    canvas = input.settled().to(torch.promote_types(input.dtype, torch.float32))
    result: Tensor = window_averages(canvas, input.lengths, counts).to(input.dtype)
    return RaggedBatch.laid_out(result, wanted, Padding.FINITE)
