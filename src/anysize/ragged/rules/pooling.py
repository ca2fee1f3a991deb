"""Pooling in local windows, of which those along an image's border see nothing of what lies beyond."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.pixels.reducing import lowest
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.windows import output_lengths, per_axis
from anysize.sizes import Window

__all__: list[str] = []


@register_rule(
    functional.max_pool1d, functional.max_pool2d, functional.max_pool3d,
    torch.max_pool1d, torch.max_pool2d, torch.max_pool3d,
)  # fmt: skip
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
    windows = _windows(input.spatial_axes, kernel_size, stride, padding, dilation, ceil_mode)
    lengths = output_lengths(function, input, windows)
    options = (kernel_size, _strides(kernel_size, stride), padding, dilation, ceil_mode)
    if ceil_mode or any(window.padding_after for window in windows):
        # Windows hang over the border.
        if torch.compiler.is_compiling():  # a finite number: Inductor miscompiles max-pooling over -inf on CPUs
            result = function(input.masked(torch.finfo(input.dtype).min), *options)
        else:
            with input.lent(lowest(input.dtype)) as canvas:
                result = function(canvas, *options)
        # Windows that saw nothing but the fill hold it now: the next sum or product would overflow to infinity, and
        # a zero gradient times infinity is NaN. The backward pass needs positions, not values.
        return RaggedBatch.laid_out(result, lengths, Padding.FINITE).with_zeros()
    result = function(input.settled(), *options)
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
    """Average in windows: (N, C, *spatial) -> (N, C, *spatial')."""
    windows = _windows(input.spatial_axes, kernel_size, stride, padding, 1, ceil_mode)
    lengths = output_lengths(function, input, windows)
    if _inside(input, windows, lengths):
        result = _averages(input.settled(), windows, divisor_override)
    elif divisor_override is not None or (count_include_pad and not ceil_mode):
        result = _averages(input.cleared(), windows, divisor_override)
    else:
        # The mean over whole windows, made that over what counts: of a sum, half precision would overflow.
        whole = _averages(input.cleared(), windows, None)
        result = (whole * _shares(input, windows, whole.shape[2:], count_include_pad)).to(whole.dtype)
    return RaggedBatch.laid_out(result, lengths, Padding.FINITE).kept_finite()


def _inside(input: RaggedBatch, windows: Sequence[Window], lengths: Sequence[Length]) -> bool:
    """Whether it is known that all windows lie within their images."""
    for window, length, outputs in zip(windows, input.lengths, lengths, strict=True):
        if window.padding_before:
            return False
        if window.ceil_mode:
            before, after = length.known, outputs.known
            if before is None or after is None:
                return False
            if any((n - 1) * window.stride + window.kernel > pixels for pixels, n in zip(before, after, strict=True)):
                return False
    return True


def _averages(canvas: Tensor, windows: Sequence[Window], divisor: int | None) -> Tensor:
    """Sum in windows and divide by one number, by default the pixels of a window: (N, C, *spatial)."""
    is_line = len(windows) == 1
    if is_line:  # avg_pool1d has no divisor
        canvas, windows = canvas.unsqueeze(2), (Window(kernel=1), *windows)
    kernel = tuple(window.kernel for window in windows)
    pool = functional.avg_pool3d if len(windows) == 3 else functional.avg_pool2d
    result: Tensor = pool(
        canvas,
        kernel,
        tuple(window.stride for window in windows),
        tuple(window.padding_before for window in windows),
        windows[-1].ceil_mode,
        True,
        math.prod(kernel) if divisor is None else divisor,
    )
    return result.squeeze(2) if is_line else result


def _shares(input: RaggedBatch, windows: Sequence[Window], extents: Sequence[int], include_padding: bool) -> Tensor:
    """Return by how much more than the pixels that count a window has: (N, 1, *extents)."""
    dtype = torch.promote_types(input.dtype, torch.float32)
    shares = torch.ones((), dtype=dtype, device=input.device)
    for axis, (window, extent) in enumerate(zip(windows, extents, strict=True)):
        length = input.lengths[axis].tensor(input.device)[:, None]  # (N, 1)
        start = torch.arange(extent, device=input.device) * window.stride - window.padding_before
        if include_padding:  # the padding that was asked for, but no more than that
            counts = torch.minimum(start + window.kernel, length + window.padding_after) - start
        else:
            counts = torch.minimum(start + window.kernel, length) - start.clamp(min=0)
        shape = [-1, *(1,) * (input.dim() - 1)]
        shape[2 + axis] = extent
        # Beyond the image there may be none.
        shares = shares * (window.kernel / counts.clamp(min=1).to(dtype)).reshape(shape)
    return shares


@register_rule(functional.lp_pool1d, functional.lp_pool2d, functional.lp_pool3d)
def lp_pool(
    function: Callable[..., Any],
    input: RaggedBatch,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
) -> RaggedBatch:
    """Take the power average in windows: (N, C, *spatial) -> (N, C, *spatial')."""
    axes = input.spatial_axes
    if math.isinf(norm_type):
        raise refusal(function, "an infinite norm is a maximum: use max_pool on the absolute values")
    average = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[axes]
    # Ones around the images, before both powers: their derivatives are finite there, whatever the exponents.
    powers = input.with_canvas(input.masked(1.0).pow(norm_type), Padding.FINITE)
    means = avg_pool(average, powers, kernel_size, stride, 0, ceil_mode)
    total = means.masked(1.0)
    total = (torch.sign(total) * functional.relu(torch.abs(total))) * math.prod(per_axis(kernel_size, axes))
    return means.with_canvas(total.pow(1.0 / norm_type), Padding.FINITE)


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


def _strides(kernel_size: Any, stride: Any) -> Any:
    """The stride, or the kernel's size where none is given."""
    return kernel_size if stride is None or stride in ([], ()) else stride


def _windows(axes: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> list[Window]:
    return [
        Window(kernel=k, stride=s, padding_before=p, padding_after=p, dilation=d, ceil_mode=ceil_mode)
        for k, s, p, d in zip(
            per_axis(kernel_size, axes),
            per_axis(_strides(kernel_size, stride), axes),
            per_axis(padding, axes),
            per_axis(dilation, axes),
            strict=True,
        )
    ]
