"""New tensors in the likeness of a batch, and conversions from one kind to another."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.canvas import CanvasTensor
from anysize.ragged.group import RaggedGroup
from anysize.ragged.lengths import Length
from anysize.ragged.pixels.pixelwise import overwritten as in_place
from anysize.ragged.registry import refusal, register_rule

__all__: list[str] = []


@register_rule(torch.zeros_like, torch.ones_like, torch.rand_like, torch.randn_like, any_layout=True)
def likeness(function: Callable[..., Any], input: RaggedBatch, **options: Any) -> RaggedBatch:
    """Make a batch of the same sizes of zeros, ones or random numbers."""
    known = Padding.ZERO if function is torch.zeros_like else Padding.FINITE
    return input.with_canvas(function(input.canvas, **options), known)


@register_rule(torch.full_like, torch.empty_like, any_layout=True)
def filled_likeness(function: Callable[..., Any], input: RaggedBatch, *args: Any, **options: Any) -> RaggedBatch:
    """Make a batch of the same sizes of one number, or of whatever there is."""
    return input.with_canvas(function(input.canvas, *args, **options), Padding.UNKNOWN)


@register_rule(Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.zero_, Tensor.fill_, any_layout=True)
def overwritten(function: Callable[..., Any], input: RaggedBatch, *args: Any, **options: Any) -> RaggedBatch:
    """Overwrite every pixel, in place."""
    if any(isinstance(value, CanvasTensor) for value in (*args, *options.values())):
        raise refusal(function, "only its input may be ragged")
    canvas = input.settled()
    return in_place(input, function(canvas, *args, **options), Padding.UNKNOWN)


@register_rule(torch.bernoulli, Tensor.bernoulli, any_layout=True)
def bernoulli(function: Callable[..., Any], input: RaggedBatch, *args: Any, **options: Any) -> RaggedBatch:
    """Draw zeros and ones with the probabilities that the pixels are."""
    return input.with_canvas(
        function(input.masked(0.0), *args, **options), Padding.ZERO if not args else Padding.FINITE
    )


@register_rule(
    Tensor.new_empty, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_tensor,
    any_layout=True, whole_group=True,
)  # fmt: skip
def new(function: Callable[..., Any], input: Any, *args: Any, **options: Any) -> Tensor:
    """Make a plain tensor of the same dtype and device, of a shape of ordinary numbers: (N, 1, 1, 1), say."""
    shape = args[0] if args and isinstance(args[0], list | tuple) else (*args, *options.get("size", ()))
    if function is not Tensor.new_tensor and any(isinstance(length, Length) for length in shape):
        raise refusal(function, "its shape holds lengths that differ between images; torch.zeros_like has a rule")
    first = input.parts[0] if isinstance(input, RaggedGroup) else input
    return function(first.canvas, *args, **options)  # type: ignore[no-any-return]


@register_rule(Tensor.type_as, Tensor.to, any_layout=True, whole_group=True)
def converted(function: Callable[..., Any], input: Any, *args: Any, **options: Any) -> Any:
    """Give a batch or a plain tensor the dtype and device of another batch or tensor."""
    other: Any = args[0] if args else options.get("other")
    if isinstance(other, RaggedBatch | RaggedGroup):
        other = (other.parts[0] if isinstance(other, RaggedGroup) else other).canvas
    if isinstance(input, RaggedGroup):
        return RaggedGroup([converted(function, part, other, *args[1:]) for part in input.parts])
    if isinstance(input, RaggedBatch):
        return input.to(device=other.device, dtype=other.dtype)
    return function(input, other, *args[1:], **{name: v for name, v in options.items() if name != "other"})


@register_rule(Tensor.requires_grad_, any_layout=True)
def requires_grad_(function: Callable[..., Any], input: RaggedBatch, *args: Any, **options: Any) -> RaggedBatch:
    """Record operations on the canvas."""
    function(input.canvas, *args, **options)
    return input
