"""Resampling: each image from its own size to its own new size, by its own scale."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anysize.errors import ImageSizeError
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.lengths import Length
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.resizing import extents_of, resize_each, wanted_lengths
from anysize.ragged.shapes.taps import Axis, linear_taps, nearest_places, take_linear, take_pixels
from anysize.ragged.shapes.windows import require_pixels
from anysize.sizes import format_size

__all__: list[str] = []

_NEAREST = ("nearest", "nearest-exact")
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_MODES: dict[int, tuple[str, ...]] = {axes: (*_NEAREST, "area", mode) for axes, mode in _LINEAR.items()}
_MODES[2] += ("bicubic",)


@register_rule(functional.interpolate)
def interpolate(
    function: Callable[..., Any],
    input: RaggedBatch,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> RaggedBatch:
    """Resize: (N, C, *spatial) -> (N, C, *spatial'), each image to its own size, or by one factor.

    Sizes may be lengths: ``size=other.shape[2:]`` gives each image the size of its partner.
    """
    settings = {"mode": mode, "align_corners": align_corners, "antialias": antialias}
    if not isinstance(input, RaggedBatch) or mode not in _MODES[input.spatial_axes]:
        raise refusal(function, f"mode {mode!r} has no exact rule")
    if (size is None) == (scale_factor is None) or (align_corners is not None and mode in (*_NEAREST, "area")):
        return function(input.canvas, size, scale_factor, **settings)  # type: ignore[no-any-return]  # which refuses
    factors = None if scale_factor is None else _per_axis(scale_factor, input.spatial_axes)
    if factors is None:
        wanted = wanted_lengths(function, input, size)
    else:
        wanted = tuple(_scaled(length, factor) for length, factor in zip(_bounded(input), factors, strict=True))
    require_pixels(function, input, wanted, lambda: [math.ceil(1 / factor) for factor in factors or ()])
    if recompute_scale_factor:
        factors = None
    if all(length.is_one for length in input.lengths):
        return _spread(function, input, wanted)
    if factors is not None and mode in _NEAREST and all(factor >= 1 and factor.is_integer() for factor in factors):
        # The scale is that of the factor whatever the extent, and no real output comes from beyond the border.
        result = function(input.settled(), scale_factor=factors, mode=mode)
        return RaggedBatch.laid_out(result, wanted, Padding.FINITE)
    if torch.compiler.is_compiling() and not antialias and mode in (*_NEAREST, _LINEAR[input.spatial_axes]):
        return _tapped(function, input, wanted, factors, mode, bool(align_corners))
    return resize_each(
        function, input, wanted,
        lambda images, target: function(images, None if factors else target, factors, **settings),
    )  # fmt: skip


def _per_axis(scale_factor: Any, axes: int) -> list[float]:
    factors = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor] * axes
    return [float(factor) for factor in factors]


def _bounded(input: RaggedBatch) -> list[Length]:
    return [length.with_limit(extent) for length, extent in zip(input.lengths, input.extents, strict=True)]


def _scaled(length: Length, factor: float) -> Length:
    def scale(value: Any) -> Any:
        # In float64, as torch has it.
        return (value.double() * factor).floor().long() if isinstance(value, Tensor) else math.floor(value * factor)

    return length.map(scale, growing=True)


def _spread(function: Callable[..., Any], input: RaggedBatch, wanted: Sequence[Length]) -> RaggedBatch:
    """Resize images of one pixel: they are that pixel all over, by any method."""
    pixel = input.canvas
    for axis in range(2, pixel.dim()):
        pixel = pixel.narrow(axis, 0, 1)
    canvas = pixel.expand(-1, -1, *extents_of(function, wanted)).clone(memory_format=torch.contiguous_format)
    return RaggedBatch.laid_out(canvas, tuple(wanted), Padding.FINITE)


def _tapped(
    function: Callable[..., Any],
    input: RaggedBatch,
    wanted: Sequence[Length],
    factors: Sequence[float] | None,
    mode: str,
    align_corners: bool,
) -> RaggedBatch:
    """Resize on the common canvas, axis by axis: what a compiled graph can hold."""
    extents = extents_of(function, wanted)
    canvas = input.canvas
    if mode not in _NEAREST:
        canvas = canvas.to(torch.promote_types(canvas.dtype, torch.float32))
    for number, extent in enumerate(extents):
        axis = Axis(
            before=input.lengths[number],
            after=wanted[number],
            extent=extent,
            factor=None if factors is None else factors[number],
        )
        if mode in _NEAREST:
            places = nearest_places(axis, canvas.device, exact=mode == "nearest-exact")
            canvas = take_pixels(canvas, 2 + number, places)
        else:
            taps = linear_taps(axis, canvas.device, canvas.dtype, align_corners=align_corners)
            canvas = take_linear(canvas, 2 + number, axis.before, taps)
    return RaggedBatch.laid_out(canvas.to(input.dtype), tuple(wanted), Padding.FINITE)


@register_rule(functional.pixel_shuffle)
def pixel_shuffle(function: Callable[..., Any], input: RaggedBatch, upscale_factor: int) -> RaggedBatch:
    """Lay channels out as pixels: (N, C * r * r, H, W) -> (N, C, H * r, W * r)."""
    _require_two_axes(function, input)
    canvas = input.settled()
    lengths = tuple(length * upscale_factor for length in input.lengths)
    return RaggedBatch.laid_out(function(canvas, upscale_factor), lengths, _known(input))


@register_rule(functional.pixel_unshuffle)
def pixel_unshuffle(function: Callable[..., Any], input: RaggedBatch, downscale_factor: int) -> RaggedBatch:
    """Lay the pixels of r x r squares out as channels: (N, C, H * r, W * r) -> (N, C * r * r, H, W).

    Raises:
        ImageSizeError: an image whose height or width is no multiple of r.
    """
    _require_two_axes(function, input)
    _require_multiples(function, input, downscale_factor)
    canvas = input.settled()
    for number, extent in enumerate(input.extents):  # what is over at the end of the canvas is no image's
        canvas = canvas.narrow(2 + number, 0, extent // downscale_factor * downscale_factor)
    lengths = tuple(length // downscale_factor for length in input.lengths)
    return RaggedBatch.laid_out(function(canvas, downscale_factor), lengths, _known(input))


def _known(input: RaggedBatch) -> Padding:
    return max(input.padding, Padding.FINITE)


def _require_two_axes(function: Callable[..., Any], input: RaggedBatch) -> None:
    if input.spatial_axes != 2:
        raise refusal(function, f"it works on images of two spatial axes, not of {input.spatial_axes}")


def _require_multiples(function: Callable[..., Any], input: RaggedBatch, factor: int) -> None:
    if torch.compiler.is_compiling():
        for length in input.lengths:
            whole = (length.tensor(input.device) % factor == 0).all()
            torch._assert_async(whole, f"a length is no multiple of {factor} in a {function.__name__}")
        return
    for index, size in enumerate(input.sizes):
        if any(length % factor for length in size):
            larger = [-(-length // factor) * factor for length in size]
            raise ImageSizeError(
                f"image {index} of the batch is {format_size(size)} where it reaches {function.__name__}, which needs "
                f"multiples of {factor}",
                hint=f"pad or crop it, for example to {format_size(larger)}",
            )
