"""Pooling: local windows that never see the padding, and global pools over the real pixels only."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.padding import sum_over_real_pixels
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.windows import output_lengths, per_axis
from anysize.sizes import Window

__all__: list[str] = []


@register_rule(functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
def max_pool(
    function: Callable[..., Any],
    input: RaggedBatch,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 - true is another function, refused below
) -> RaggedBatch:
    """Take the maximum in windows: (N, C, *spatial) -> (N, C, *spatial')."""
    axes = input.spatial_axes
    pads = per_axis(padding, axes)
    windows = [
        Window(kernel=k, stride=s, padding_before=p, padding_after=p, dilation=d, ceil_mode=ceil_mode)
        for k, s, p, d in zip(
            per_axis(kernel_size, axes),
            per_axis(kernel_size if stride is None or stride == [] else stride, axes),
            pads,
            per_axis(dilation, axes),
            strict=True,
        )
    ]
    lengths = output_lengths(function, input, windows)
    if ceil_mode or any(pads):
        # Windows hang over the border. The lowest finite number, not -inf: padding stays finite, and Inductor
        # miscompiles max-pooling over -inf on CPUs.
        result = function(input.masked(torch.finfo(input.dtype).min), kernel_size, stride, padding, dilation, ceil_mode)
        # Windows that saw nothing but the fill hold it now: the next sum or product would overflow to infinity, and
        # a zero gradient times infinity is NaN. The backward pass needs positions, not values.
        return RaggedBatch.laid_out(result, lengths, Padding.FINITE).with_zeros()
    result = function(input.settled(), kernel_size, stride, padding, dilation, ceil_mode)
    return RaggedBatch.laid_out(result, lengths, Padding.FINITE)


@register_rule(functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
def avg_pool(
    function: Callable[..., Any],
    input: RaggedBatch,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> RaggedBatch:
    """Average in windows that lie inside the image: (N, C, *spatial) -> (N, C, *spatial')."""
    axes = input.spatial_axes
    if ceil_mode or any(per_axis(padding, axes)):
        raise refusal(function, "average pooling is exact for padding=0 and ceil_mode=False only")
    strides = per_axis(kernel_size if stride is None or stride == [] else stride, axes)
    windows = [Window(kernel=k, stride=s) for k, s in zip(per_axis(kernel_size, axes), strides, strict=True)]
    lengths = output_lengths(function, input, windows)
    extra = {} if divisor_override is None else {"divisor_override": divisor_override}
    result = function(input.settled(), kernel_size, strides, padding, ceil_mode, count_include_pad, **extra)
    return RaggedBatch.laid_out(result, lengths, Padding.FINITE)


@register_rule(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
def adaptive_avg_pool(function: Callable[..., Any], input: RaggedBatch, output_size: Any) -> RaggedBatch:
    """Average each image over all its pixels: (N, C, *spatial) -> (N, C, 1, ...), images of one pixel."""
    _require_global(function, output_size)
    return _one_pixel(input, _global_mean(input))


@register_rule(functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d)
def adaptive_max_pool(
    function: Callable[..., Any],
    input: RaggedBatch,
    output_size: Any,
    return_indices: bool = False,  # noqa: ARG001 - true is another function, refused below
) -> RaggedBatch:
    """Take each image's maximum over all its pixels: (N, C, *spatial) -> (N, C, 1, ...), images of one pixel."""
    _require_global(function, output_size)
    # The pool itself is called, not amax: of several equal maxima it sends the gradient to the first alone.
    return _one_pixel(input, function(input.masked(torch.finfo(input.dtype).min), output_size))


@register_rule(
    functional.max_pool1d_with_indices,
    functional.max_pool2d_with_indices,
    functional.max_pool3d_with_indices,
    functional.adaptive_max_pool1d_with_indices,
    functional.adaptive_max_pool2d_with_indices,
    functional.adaptive_max_pool3d_with_indices,
)
def max_pool_with_indices(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: ARG001
    """Refuse: torch calls these for ``return_indices=True``."""
    raise refusal(function, "return_indices=True gives positions on the canvas, not on each image")


@register_rule(torch.mean, Tensor.mean)
def mean(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False, **options: Any
) -> RaggedBatch | Tensor:
    """Average over all spatial axes: (N, C, *spatial) -> a plain (N, C), or (N, C, 1, ...), images of one pixel."""
    _require_spatial(function, input, dim, options)
    return _reduced(input, _global_mean(input), keepdim=keepdim)


@register_rule(torch.sum, Tensor.sum)
def sum_(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = None, keepdim: bool = False, **options: Any
) -> RaggedBatch | Tensor:
    """Sum over all spatial axes: (N, C, *spatial) -> a plain (N, C), or (N, C, 1, ...), images of one pixel."""
    _require_spatial(function, input, dim, options)
    return _reduced(input, _real_sum(input, input.dtype), keepdim=keepdim)


@register_rule(torch.amax, Tensor.amax)
def amax(
    function: Callable[..., Any], input: RaggedBatch, dim: Any = (), keepdim: bool = False
) -> RaggedBatch | Tensor:
    """Maximum over all spatial axes: (N, C, *spatial) -> a plain (N, C), or (N, C, 1, ...), images of one pixel."""
    axes = _require_spatial(function, input, dim, {})
    return _reduced(input, input.masked(torch.finfo(input.dtype).min).amax(axes, keepdim=True), keepdim=keepdim)


def _real_sum(input: RaggedBatch, dtype: torch.dtype) -> Tensor:
    """Sum each image over its pixels: (N, C, 1, ...)."""
    canvas = input.zeroed().to(dtype)
    if torch.compiler.is_compiling():
        return canvas.sum(tuple(range(2, canvas.dim())), keepdim=True)
    return sum_over_real_pixels(canvas, input.columns)


def _global_mean(input: RaggedBatch) -> Tensor:
    """Average each image over its pixels: (N, C, 1, ...)."""
    # In float32 at least, as the native kernel: half precision holds neither the sum nor an area over 65,504.
    total = _real_sum(input, torch.promote_types(input.dtype, torch.float32))
    area = math.prod(input.lengths[1:], start=input.lengths[0])
    return (total / area.tensor(total.device).reshape(-1, *(1,) * (total.dim() - 1))).to(input.dtype)


def _one_pixel(input: RaggedBatch, values: Tensor) -> RaggedBatch:
    """Make a batch of images of one pixel of ``values`` (N, C, 1, ...)."""
    one = Length((1,) * len(input))
    return RaggedBatch.laid_out(values, (one,) * input.spatial_axes, Padding.ZERO)


def _reduced(input: RaggedBatch, values: Tensor, *, keepdim: bool) -> RaggedBatch | Tensor:
    return _one_pixel(input, values) if keepdim else values.flatten(1)


def _require_global(function: Callable[..., Any], output_size: Any) -> None:
    wanted = output_size if isinstance(output_size, list | tuple) else [output_size]
    if any(length != 1 for length in wanted):
        raise refusal(function, f"adaptive pooling is exact for output size 1 only, not {output_size}")


def _require_spatial(
    function: Callable[..., Any], input: RaggedBatch, dim: Any, options: dict[str, Any]
) -> tuple[int, ...]:
    """Accept a reduction over exactly the spatial axes, and nothing else."""
    if any(value is not None for value in options.values()):
        raise refusal(function, f"the options {sorted(options)} have no exact rule")
    spatial = tuple(range(2, input.dim()))
    given = () if dim is None else tuple(dim) if isinstance(dim, list | tuple) else (dim,)
    if tuple(sorted(axis % input.dim() for axis in given)) != spatial:
        raise refusal(function, f"it reduces over axes {dim}; only all spatial axes {spatial} together are exact")
    return spatial
